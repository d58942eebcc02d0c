//! `/openapi.json`: what is served, for programs that read such descriptions.

mod schemas;

use std::sync::LazyLock;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::guard::typed;
use schemas::{list_of, refer};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(crate) async fn get() -> Response {
    typed("application/json", DOCUMENT.as_str())
}

/// An operation.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: Option<Value>,
    /// Status, kind and schema of what is answered when all is well.
    answer: (u16, &'static str, Value),
    /// Parameters behind the question mark: name, schema, whether it is needed.
    query: Vec<(&'static str, Value, bool)>,
}

const JSON: &str = "application/json";

fn operation(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
    let answer = (200, JSON, json!({"type": "object"}));
    Operation { method, path, summary, body: None, answer, query: Vec::new() }
}

impl Operation {
    fn takes(mut self, schema: &str) -> Self {
        self.body = Some(refer(schema));
        self
    }

    fn gives(mut self, schema: &str) -> Self {
        self.answer.2 = refer(schema);
        self
    }

    fn lists(mut self, schema: &str) -> Self {
        self.answer.2 = list_of(refer(schema));
        self
    }

    fn answers(mut self, status: u16, kind: &'static str) -> Self {
        (self.answer.0, self.answer.1) = (status, kind);
        if kind != JSON {
            self.answer.2 = json!({"type": "string"});
        }
        self
    }

    fn asks(mut self, name: &'static str, schema: Value, needed: bool) -> Self {
        self.query.push((name, schema, needed));
        self
    }

    fn pages(self) -> Self {
        self.asks("after", json!({"type": "string"}), false).asks("limit", number(1, 1000), false)
    }

    fn is_open(&self) -> bool {
        matches!(
            self.path,
            "/" | "/page.css" | "/page.js" | "/healthz" | "/readyz" | "/openapi.json"
        )
    }

    fn describe(&self) -> Value {
        let mut parameters: Vec<Value> = names(self.path)
            .map(|name| {
                let schema = json!({"type": "string", "minLength": 1});
                json!({"name": name, "in": "path", "required": true, "schema": schema})
            })
            .collect();
        parameters.extend(self.query.iter().map(|(name, schema, needed)| {
            json!({"name": name, "in": "query", "required": needed, "schema": schema})
        }));
        let (status, kind, schema) = &self.answer;
        let mut content = Map::new();
        content.insert((*kind).to_owned(), json!({"schema": schema}));
        if matches!(self.path, "/v1/chat/completions" | "/v1/completions") {
            // Of its events.
            content.insert("text/event-stream".into(), json!({"schema": {}}));
        }
        let mut responses = Map::new();
        responses
            .insert(status.to_string(), json!({"description": "It was done.", "content": content}));
        if (self.method, self.path) == ("put", "/v1/users/{user}") {
            responses.insert("201".into(), responses["200"].clone());
        }
        if self.path == "/readyz" {
            let content = json!({JSON: {"schema": {"type": "object"}}});
            responses.insert("503".into(), json!({"description": "Not now.", "content": content}));
        }
        responses.insert(
            "default".into(),
            json!({
                "description": "It was refused, or failed.",
                "content": {JSON: {"schema": refer("Error")}},
            }),
        );
        let mut operation = json!({
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if self.is_open() {
            operation["security"] = json!([]);
        }
        if let Some(body) = &self.body {
            let kind = match self.path {
                "/v1/users/{user}/import" => "application/octet-stream",
                _ => JSON,
            };
            let content = json!({kind: {"schema": body}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        operation
    }
}

/// The names in a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn number(from: u32, to: u32) -> Value {
    json!({"type": "integer", "minimum": from, "maximum": to})
}

fn operations() -> Vec<Operation> {
    let mut all = of_models();
    all.extend(of_users());
    all.extend(of_the_server());
    all
}

fn of_models() -> Vec<Operation> {
    vec![
        operation("post", "/v1/chat/completions", "Goes on with a conversation.")
            .takes("ChatRequest")
            .gives("ChatCompletion"),
        operation("post", "/v1/completions", "Goes on with a text.")
            .takes("CompletionRequest")
            .gives("Completion"),
        operation("get", "/v1/models", "The bases, and the users' models that may be seen.")
            .lists("Model"),
        operation("get", "/v1/models/{model}", "One model.").gives("Model"),
        operation("post", "/v1/embeddings", "Embeddings of texts under a base.")
            .takes("EmbeddingRequest")
            .lists("Embedding"),
        operation("post", "/tokenize", "The tokens of a text.").takes("TokenizeRequest"),
        operation("post", "/detokenize", "The text of tokens.").takes("DetokenizeRequest"),
    ]
}

fn of_users() -> Vec<Operation> {
    let text = || json!({"type": "string", "minLength": 1});
    vec![
        operation("get", "/v1/users", "The users; not for the key of one of them.")
            .pages()
            .lists("User"),
        operation("get", "/v1/users/{user}", "A user.").gives("User"),
        operation("put", "/v1/users/{user}", "Makes a user, if there is none.").gives("User"),
        operation("delete", "/v1/users/{user}", "Removes a user from everywhere.").gives("Receipt"),
        operation("get", "/v1/users/{user}/interactions", "The texts, latest first.")
            .pages()
            .lists("Interaction"),
        operation("post", "/v1/users/{user}/interactions", "Keeps texts, each once.")
            .takes("NewInteractions"),
        operation("get", "/v1/users/{user}/interactions/{id}", "A text.").gives("Interaction"),
        operation("delete", "/v1/users/{user}/interactions/{id}", "Forgets a text.")
            .gives("Receipt"),
        operation("get", "/v1/users/{user}/search", "Searches the texts.")
            .asks("q", text(), true)
            .asks("limit", number(1, 100), false)
            .lists("Object"),
        operation("post", "/v1/users/{user}/adapt", "Starts learning what is pending.")
            .answers(202, JSON)
            .gives("Adaptation"),
        operation("get", "/v1/users/{user}/adaptations", "What was started, latest first.")
            .lists("Adaptation"),
        operation("get", "/v1/users/{user}/generations", "The generations, latest first.")
            .lists("Object"),
        operation("post", "/v1/users/{user}/rollback", "Goes back to a generation.")
            .takes("RollbackRequest"),
        operation("get", "/v1/users/{user}/periods", "What was learned and why, oldest first.")
            .lists("Object"),
        operation("get", "/v1/users/{user}/buffer", "The residual buffer, best first.")
            .lists("Object"),
        operation("get", "/v1/users/{user}/explain", "How an answer came about.")
            .asks("response_id", text(), true)
            .asks("choice", number(0, u32::MAX), false),
        operation("post", "/v1/users/{user}/feedback", "What was really used of an answer.")
            .takes("Feedback"),
        operation("get", "/v1/users/{user}/consent", "What the person has agreed to.")
            .gives("Consent"),
        operation("put", "/v1/users/{user}/consent", "Changes what the person has agreed to.")
            .takes("ConsentRequest")
            .gives("Consent"),
        operation("get", "/v1/users/{user}/export", "Everything of a user.").answers(200, "*/*"),
        Operation {
            body: Some(json!({"type": "string"})),
            ..operation("post", "/v1/users/{user}/import", "Takes in an export.")
        },
    ]
}

fn of_the_server() -> Vec<Operation> {
    vec![
        operation("get", "/healthz", "Whether the process answers."),
        operation("get", "/readyz", "Whether it is to be sent requests."),
        operation("get", "/metrics", "Counts and times, for Prometheus.")
            .answers(200, "text/plain"),
        operation("get", "/route", "Which server of the state is warm for a user.")
            .asks("user", json!({"type": "string"}), false)
            .gives("Route"),
        operation("get", "/openapi.json", "This description."),
        operation("get", "/", "The page for the person.").answers(200, "text/html"),
        operation("get", "/page.css", "Of the page.").answers(200, "text/css"),
        operation("get", "/page.js", "Of the page.").answers(200, "text/javascript"),
    ]
}

fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.describe();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "spring-serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's API, where a person is a model.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "plain_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"key": []}, {"plain_key": []}, {}],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::paths::PATHS;

    #[test]
    fn every_path_is_described_and_no_other() {
        let described: BTreeSet<&str> = operations().iter().map(|of| of.path).collect();
        // A model's name may have slashes, which a description has no word for.
        let served = PATHS.iter().map(|path| match *path {
            "/v1/models/{*model}" => "/v1/models/{model}",
            path => path,
        });
        assert_eq!(described, served.collect());
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = document();
        let text = document.to_string();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
