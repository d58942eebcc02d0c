//! Text to token ids and back, by the tokenizers library.

use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokenizers::{
    AddedToken, DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, Token, TokenizerImpl, models::TrainerWrapper,
};

use crate::{
    ChatTemplate, Message, ModelError, ModelFiles, Result, Role, pieces::Pieces,
    special::TokenSettings,
};

/// The tokenizer of a model folder, and its chat template if it has one, in this process.
#[derive(Debug, Clone)]
pub(crate) struct LocalTokenizer {
    /// Reads a template's tokens as such.
    inner: Arc<tokenizers::Tokenizer>,
    /// Reads everything as plain text.
    plain: PlainTokenizer,
    /// Tokens that steer a model; no text of a user may hold one.
    control: Vec<u32>,
    begin: Begin,
    end: Option<u32>,
    chat: Option<Chat>,
    file: String,
    pieces: Pieces,
}

/// With which token a text without a template begins.
#[derive(Debug, Clone, Copy)]
enum Begin {
    /// The tokenizer's files say: with this one, or with none.
    Said(Option<u32>),
    /// They say nothing, so the model's configuration decides.
    Unsaid,
}

#[derive(Debug, Clone)]
struct Chat {
    template: ChatTemplate,
    /// Every added token that is no white space.
    tokens: Vec<(String, u32)>,
    end_of_turn: Option<u32>,
}

impl LocalTokenizer {
    /// Reads a model's tokenizer: `tokenizer.json`, the tokens that `tokenizer_config.json`,
    /// `special_tokens_map.json` and `added_tokens.json` add, and the chat template. A GGUF file
    /// has all of it in its keys.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if it is malformed; [`ModelError::Config`] for another file that
    /// is, or a template that cannot be read or fails on a plain question. One that knows more
    /// tokens than the model (`vocab_size`) is only warned of: some families share a tokenizer in
    /// which their text models lack a token for images. Whatever runs the model refuses ids outside
    /// its vocabulary.
    pub(crate) fn load(files: &ModelFiles, vocab_size: usize) -> Result<Self> {
        let file = files.file("tokenizer.json");
        let fail = |reason: String| ModelError::Tokenizer { file: file.clone(), reason };
        let mut inner = match files.gguf() {
            Some(file) => file.tokenizer()?,
            None => read(files.tokenizer()?).map_err(&fail)?,
        };
        let settings = TokenSettings::load(files)?;
        // Tokens that the file names and does not have could not be run.
        let known = |name: &str| settings.get(name).and_then(|text| inner.token_to_id(text));
        let named_begin = known("bos_token");
        add_tokens(&mut inner, &settings.added);
        // Lengths are cut by the caller, who records each cut.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        let in_file = files.gguf().is_some();
        let template = ChatTemplate::load(files, &settings).map_err(|e| advised(e, in_file))?;
        let added = inner.get_added_tokens_decoder();
        let source = template.as_ref().map_or("", ChatTemplate::source);
        let steers = |token: &AddedToken| match &settings.control {
            _ if token.special => true,
            Some(listed) => listed.contains(&token.content),
            // Templates hold white space as ordinary text.
            None => !is_blank(&token.content) && source.contains(&token.content),
        };
        let mut control: Vec<(u32, AddedToken)> = added
            .iter()
            .filter(|(_, token)| steers(token))
            .map(|(id, token)| (*id, token.clone()))
            .collect();
        control.sort_by_key(|(id, _)| *id);
        let chat = template.map(|template| Chat {
            template,
            tokens: added
                .iter()
                .filter(|(_, token)| !is_blank(&token.content))
                .map(|(id, token)| (token.content.clone(), *id))
                .collect(),
            end_of_turn: None,
        });
        let begin = begin(&inner, &settings, named_begin).map_err(|e| fail(e.to_string()))?;
        let end = settings.get("eos_token").and_then(|text| inner.token_to_id(text));
        // A name for a token that the model does not have ends nothing.
        let end = end.filter(|id| (*id as usize) < vocab_size);
        let pieces = Pieces::of(&inner);
        let inner = Arc::new(inner);
        let plain = plain(&inner, &control);
        let control = control.into_iter().map(|(id, _)| id).collect();
        let mut tokenizer = Self { inner, plain, control, begin, end, chat, file, pieces };
        if let Some(chat) = &tokenizer.chat {
            // A template that fails on this fails on everything, and is better refused now.
            let question = [Message { role: Role::User, content: "-" }];
            chat.template.render(&question, true).map_err(|e| advised(e, in_file))?;
        }
        let end_of_turn = tokenizer.find_end_of_turn();
        if let Some(chat) = &mut tokenizer.chat {
            chat.end_of_turn = end_of_turn;
        }
        Ok(tokenizer)
    }

    /// The ids of a text, without the special tokens that a template would add.
    ///
    /// Text that spells a token which steers the model is read as plain text, so that no user can
    /// forge the end of a turn: special tokens, those that the model's template writes, and
    /// whatever a normalizer turns into one.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library refuses the text, or has no other ids for it than a
    /// control token's.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.plain.encode_char_offsets(text, false).map_err(|e| self.fail(&e))?;
        let ids = encoding.get_ids();
        let Some(at) = ids.iter().position(|id| self.control.binary_search(id).is_ok()) else {
            return Ok(ids.to_vec());
        };
        // The vocabulary itself holds the token as a word: its characters are read apart.
        let (first, after) = encoding.get_offsets()[at];
        let byte = |character: usize| {
            text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte)
        };
        let middle = byte(first + after.saturating_sub(first) / 2);
        if middle == 0 || middle == text.len() {
            let token = self.plain.id_to_token(ids[at]).unwrap_or_default();
            return Err(ModelError::Tokenizer {
                file: self.file.clone(),
                reason: format!(
                    "the text {text:?} has no other token than {token:?}, which steers the model"
                ),
            });
        }
        let mut ids = self.encode(&text[..middle])?;
        ids.extend(self.encode(&text[middle..])?);
        Ok(ids)
    }

    /// The ids of a text that a template wrote.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding.map_err(|e| self.fail(&e))?.get_ids().to_vec())
    }

    fn fail(&self, error: &tokenizers::Error) -> ModelError {
        ModelError::Tokenizer { file: self.file.clone(), reason: error.to_string() }
    }

    /// The file that it was read from, for errors.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// How many tokens there are, added ones among them.
    pub(crate) fn tokens(&self) -> usize {
        // The library's own count copies the whole vocabulary.
        let model = self.inner.get_model();
        let added = self.inner.get_added_tokens_decoder();
        let beyond = |token: &&AddedToken| model.token_to_id(&token.content).is_none();
        model.get_vocab_size() + added.values().filter(beyond).count()
    }

    /// Whether the model has a chat template.
    pub(crate) fn has_chat_template(&self) -> bool {
        self.chat.is_some()
    }

    /// The token that begins a text without a template: what the tokenizer's own files say, be it
    /// none, and `configured` where they say nothing.
    pub(crate) fn begin_token(&self, configured: Option<u32>) -> Option<u32> {
        match self.begin {
            Begin::Said(token) => token,
            Begin::Unsaid => configured,
        }
    }

    /// The tokens that end a response, the one that is written after it first: what the template
    /// writes after a turn, then the tokenizer's own end, then those `configured`.
    pub(crate) fn end_tokens(&self, configured: &[u32]) -> Vec<u32> {
        let mut ends: Vec<u32> = Vec::new();
        for id in self.end_of_turn().into_iter().chain(self.end).chain(configured.iter().copied()) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        ends
    }

    /// The ids of a conversation under the model's chat template, up to where its next turn begins;
    /// `None` for a model without a template.
    ///
    /// They are those of transformers' `apply_chat_template`, unless a message brings in a token
    /// that steers the model: then the messages are encoded apart from the template's own text, so
    /// that the token stays plain text.
    ///
    /// # Errors
    ///
    /// [`ModelError::Config`] if the template refuses the conversation (some want the roles to
    /// alternate), [`ModelError::Tokenizer`] if the library refuses a text.
    pub(crate) fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Option<Vec<u32>>> {
        let Some(chat) = &self.chat else { return Ok(None) };
        let whole = self.ids(&chat.template.render(messages, true)?)?;
        let marks: Vec<String> = (0..messages.len()).map(mark).collect();
        let marked: Vec<Message<'_>> = messages
            .iter()
            .zip(&marks)
            .map(|(message, mark)| Message { role: message.role, content: mark })
            .collect();
        // A template that looks into the messages may not take the marks.
        let Ok(rendered) = chat.template.render(&marked, true) else {
            return match messages.iter().any(|message| self.holds_control(message.content)) {
                false => Ok(Some(whole)),
                true => Err(self.forged()),
            };
        };
        let mut apart: Vec<(&str, Option<&str>)> = Vec::new();
        let mut rest = rendered.as_str();
        for (message, mark) in messages.iter().zip(&marks) {
            // A template may leave a message out.
            let Some((before, after)) = rest.split_once(mark.as_str()) else { continue };
            apart.push((before, Some(message.content)));
            rest = after;
        }
        apart.push((rest, None));
        // The ids are compared, so that it does not matter how a token came about.
        let own: Vec<Vec<u32>> =
            apart.iter().map(|(text, _)| self.ids(text)).collect::<Result<_>>()?;
        let steers = |id: &&u32| self.control.binary_search(id).is_ok();
        if whole.iter().filter(steers).eq(own.iter().flatten().filter(steers)) {
            return Ok(Some(whole));
        }
        let mut ids = Vec::with_capacity(whole.len());
        for (own, (_, message)) in own.iter().zip(&apart) {
            ids.extend(own);
            if let Some(message) = message {
                ids.extend(self.encode(message)?);
            }
        }
        Ok(Some(ids))
    }

    fn holds_control(&self, text: &str) -> bool {
        self.ids(text).is_ok_and(|ids| ids.iter().any(|id| self.control.binary_search(id).is_ok()))
    }

    fn forged(&self) -> ModelError {
        ModelError::Tokenizer {
            file: self.file.clone(),
            reason: "a message spells a token that steers the model, and the chat template does \
                     not let messages be \
                     encoded apart from it: take the token out of the text"
                .into(),
        }
    }

    /// The token that ends the model's own turns under its chat template; `None` without a
    /// template.
    pub(crate) fn end_of_turn(&self) -> Option<u32> {
        self.chat.as_ref()?.end_of_turn
    }

    /// The added token that the template writes after a turn of the model.
    fn find_end_of_turn(&self) -> Option<u32> {
        let chat = self.chat.as_ref()?;
        let mark = mark(0);
        let messages = [
            Message { role: Role::User, content: "-" },
            Message { role: Role::Assistant, content: &mark },
        ];
        let rendered = chat.template.render(&messages, false).ok()?;
        let after = rendered.rsplit_once(&mark)?.1.trim_start();
        let follows = chat.tokens.iter().filter(|(token, _)| after.starts_with(token.as_str()));
        follows.max_by_key(|(token, _)| token.len()).map(|(_, id)| *id)
    }

    /// Whether a token is a single byte that becomes text only with those around it: `<0xE2>`, as
    /// the vocabularies with byte fallback have them.
    pub(crate) fn is_byte(&self, id: u32) -> bool {
        let piece = self.plain.id_to_token(id);
        piece.and_then(|piece| piece.strip_prefix("<0x")?.strip_suffix('>').map(str::len))
            == Some(2)
    }

    /// The bytes that a token stands for in the middle of a text; none of an id that is no token.
    pub(crate) fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.inner.get_added_vocabulary().simple_id_to_token(id) {
            // Added tokens are found in a text as they are spelled.
            Some(added) => added.into_bytes(),
            None => match self.plain.id_to_token(id) {
                Some(piece) => self.pieces.bytes(&piece),
                None => Vec::new(),
            },
        }
    }

    /// The text of some ids; special tokens are left out.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tokenizer`] if the library cannot decode them.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        let Some(chat) = &self.chat else {
            return self.plain.decode(ids, true).map_err(|e| self.fail(&e));
        };
        let shown: Vec<u32> =
            ids.iter().copied().filter(|id| Some(*id) != chat.end_of_turn).collect();
        self.inner.decode(&shown, true).map_err(|e| self.fail(&e))
    }
}

/// What is wrong with a template, with what to do where it is in a file that nobody edits.
fn advised(error: ModelError, in_gguf: bool) -> ModelError {
    match error {
        ModelError::Config { file, reason } if in_gguf => {
            let advice = "take another GGUF file of this model, or name its folder";
            ModelError::Config { file, reason: format!("{reason}; {advice}") }
        }
        other => other,
    }
}

/// A tokenizer with the model of another.
type PlainTokenizer = TokenizerImpl<
    SharedModel,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// The model of another tokenizer: vocabulary and merges are most of its memory, and a copy of
/// them is most of the time that it takes to load.
#[derive(Debug, Clone)]
struct SharedModel(Arc<tokenizers::Tokenizer>);

impl Model for SharedModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, sequence: &str) -> tokenizers::Result<Vec<Token>> {
        self.0.get_model().tokenize(sequence)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.get_model().token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.get_model().id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.0.get_model().get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.get_model().get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.0.get_model().save(folder, prefix)
    }

    fn get_trainer(&self) -> TrainerWrapper {
        self.0.get_model().get_trainer()
    }
}

/// The same tokenizer, for which text that spells a token of `control` stays text, whatever the
/// token's own flag says.
fn plain(inner: &Arc<tokenizers::Tokenizer>, control: &[(u32, AddedToken)]) -> PlainTokenizer {
    let mut plain = PlainTokenizer::new(SharedModel(inner.clone()));
    plain
        .with_normalizer(inner.get_normalizer().cloned())
        .with_pre_tokenizer(inner.get_pre_tokenizer().cloned())
        .with_post_processor(inner.get_post_processor().cloned())
        .with_decoder(inner.get_decoder().cloned());
    plain.with_added_vocabulary(inner.get_added_vocabulary().clone());
    let flagged: Vec<AddedToken> =
        control.iter().map(|(_, token)| AddedToken { special: true, ..token.clone() }).collect();
    plain.add_special_tokens(&flagged);
    plain.set_encode_special_tokens(true);
    plain
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c == '▁')
}

/// Adds what `tokenizer.json` does not have, in the order of the file that names it.
fn add_tokens(tokenizer: &mut tokenizers::Tokenizer, tokens: &[AddedToken]) {
    let known = tokenizer.get_added_tokens_decoder();
    let new: Vec<AddedToken> = tokens
        .iter()
        .filter(|token| !known.values().any(|known| known == *token))
        .cloned()
        .collect();
    if !new.is_empty() {
        tokenizer.add_tokens(&new);
    }
}

/// What the tokenizer's files say of the token that begins a text.
fn begin(
    inner: &tokenizers::Tokenizer,
    settings: &TokenSettings,
    named: Option<u32>,
) -> tokenizers::Result<Begin> {
    if inner.get_post_processor().is_none() {
        return Ok(match named {
            _ if settings.adds_begin == Some(false) || settings.no_begin => Begin::Said(None),
            Some(token) => Begin::Said(Some(token)),
            None => Begin::Unsaid,
        });
    }
    let [bare, full] = [inner.encode_fast("a", false)?, inner.encode_fast("a", true)?];
    let added = full.get_ids().strip_suffix(bare.get_ids());
    // A tokenizer that adds more, or at the end too, is none of a causal model's kinds.
    Ok(match added {
        Some([]) => Begin::Said(None),
        Some([first, ..]) => Begin::Said(Some(*first)),
        None => {
            let first =
                full.get_ids().first().filter(|first| bare.get_ids().first() != Some(first));
            Begin::Said(first.copied())
        }
    })
}

/// The library's words for a part of no kind that it knows name its own types.
fn in_words(message: &str) -> String {
    let Some((_, rest)) = message.split_once("untagged enum ") else { return message.to_owned() };
    let (name, place) = rest.split_once(' ').unwrap_or((rest, ""));
    let part = match name.trim_end_matches("Untagged").trim_end_matches("Wrapper") {
        "Model" => "the model (BPE, WordPiece, WordLevel and Unigram are known)",
        "Normalizer" => "the normalizer",
        "PreTokenizer" => "the pre-tokenizer",
        "PostProcessor" | "Processor" => "the post-processor",
        "Decoder" => "the decoder",
        _ => "a part",
    };
    format!("{part} is of no kind that the tokenizers library knows {place}").trim_end().to_owned()
}

/// No model has more tokens; a vocab_size above it is refused too.
const MAX_IDS: u32 = 1 << 22;

/// Runs work of the tokenizers library, which panics on some malformed files, be it only when a
/// text is encoded; here that is an error like any other.
///
/// # Errors
///
/// Those of the work, and [`ModelError::Tokenizer`] for `file` if it panics.
pub(crate) fn contained<T>(file: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "the tokenizers library fails on it".to_owned();
        Err(ModelError::Tokenizer { file: file.to_owned(), reason })
    })
}

fn read(bytes: &[u8]) -> std::result::Result<tokenizers::Tokenizer, String> {
    // The usual damage, a file that is cut short, is found without the panic's message on the
    // terminal.
    crate::json::check(bytes)?;
    let tokenizer =
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| in_words(&e.to_string()))?;
    // The library numbers further tokens from the highest id on.
    let added = tokenizer.get_added_tokens_decoder();
    match added.into_iter().find(|(id, _)| *id >= MAX_IDS) {
        Some((id, token)) => Err(format!(
            "the added token {:?} has the id {id}; an id below {MAX_IDS} is wanted",
            token.content
        )),
        None => Ok(tokenizer),
    }
}

/// Stands for a message in a rendered template: characters of private use, which no template looks
/// for.
fn mark(index: usize) -> String {
    format!("\u{f8f0}{index}\u{f8f1}")
}
