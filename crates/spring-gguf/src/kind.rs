use crate::error::{GgufError, Result};
use crate::{GgufFile, Metadata, Value};

/// What a GGUF file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A language model that writes on from a text; its architecture's name.
    LanguageModel(String),
    /// A low-rank adapter for a language model.
    Adapter,
    /// The part of a multimodal model that reads images or sounds.
    Projector,
    /// A model that turns texts into vectors and writes nothing; its architecture's name.
    Encoder(String),
    /// A vocabulary without weights.
    Vocabulary,
    /// A control vector.
    ControlVector,
    /// An importance matrix, which guides a quantisation.
    ImportanceMatrix,
    /// Something else, by the file's own name for it; empty where it gives none.
    Other(String),
}

/// Architectures of encoders.
const ENCODERS: [&str; 8] = [
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "modern-bert",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "t5encoder",
];

impl Kind {
    /// The kind of file that metadata belong to.
    pub fn of(metadata: &Metadata) -> Kind {
        let text = |key| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
        let architecture = text("general.architecture");
        match text("general.type") {
            "" | "model" => {}
            "adapter" => return Kind::Adapter,
            "mmproj" => return Kind::Projector,
            "vocab" => return Kind::Vocabulary,
            "imatrix" => return Kind::ImportanceMatrix,
            other => return Kind::Other(other.to_owned()),
        }
        match architecture {
            // Older files of these kinds have no type.
            _ if metadata.get("adapter.type").is_some() => Kind::Adapter,
            "clip" => Kind::Projector,
            "controlvector" => Kind::ControlVector,
            "imatrix" => Kind::ImportanceMatrix,
            "" => Kind::Other(String::new()),
            name if ENCODERS.contains(&name) => Kind::Encoder(name.to_owned()),
            name => Kind::LanguageModel(name.to_owned()),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::LanguageModel(name) => write!(f, "a language model ({name})"),
            Kind::Adapter => f.write_str("a LoRA adapter"),
            Kind::Projector => f.write_str("an image or sound projector (mmproj)"),
            Kind::Encoder(name) => write!(f, "an encoder of texts ({name})"),
            Kind::Vocabulary => f.write_str("a vocabulary without weights"),
            Kind::ControlVector => f.write_str("a control vector"),
            Kind::ImportanceMatrix => f.write_str("an importance matrix"),
            Kind::Other(name) if name.is_empty() => f.write_str("nothing that it names"),
            Kind::Other(name) => write!(f, "a {name}"),
        }
    }
}

impl GgufFile {
    /// What the file holds.
    pub fn kind(&self) -> Kind {
        Kind::of(self.metadata())
    }

    /// The architecture's name, where the file holds a language model.
    ///
    /// # Errors
    ///
    /// If the file holds something else.
    pub fn language_model(&self) -> Result<String> {
        match self.kind() {
            Kind::LanguageModel(name) => Ok(name),
            kind => Err(GgufError::Kind { path: self.path().into(), found: kind.to_string() }),
        }
    }
}
