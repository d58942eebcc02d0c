//! The objects of the description.

use serde_json::{Value, json};

/// A schema by its name.
pub(super) fn refer(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A list in OpenAI's shape.
pub(super) fn list_of(item: Value) -> Value {
    json!({
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": item},
            "has_more": {"type": "boolean"},
        },
    })
}

fn or_null(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn between(kind: &str, from: f64, to: f64) -> Value {
    json!({"type": [kind, "null"], "minimum": from, "maximum": to})
}

/// Fields that both ways of asking for text have.
fn asking(mut own: Value) -> Value {
    let common = json!({
        "model": {
            "type": ["string", "null"],
            "description": "A base, or BASE:USER. Without it: the first base.",
        },
        "n": between("integer", 1.0, 16.0),
        "max_tokens": between("integer", 1.0, 32768.0),
        "max_completion_tokens": between("integer", 1.0, 32768.0),
        "temperature": between("number", 0.0, 2.0),
        "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        "top_k": or_null("integer"),
        "min_p": between("number", 0.0, 1.0),
        "frequency_penalty": between("number", -2.0, 2.0),
        "presence_penalty": between("number", -2.0, 2.0),
        "repetition_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 10},
        "seed": or_null("integer"),
        "stop": {"anyOf": [
            {"type": "null"},
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ]},
        "stream": or_null("boolean"),
        "stream_options": {
            "type": ["object", "null"],
            "description": "Only together with stream.",
            "properties": {"include_usage": or_null("boolean")},
        },
        "user": {"type": ["string", "null"], "description": "Whose model answers."},
        "safety_identifier": {"type": ["string", "null"], "description": "As user."},
        "store": {
            "type": ["boolean", "null"],
            "description": "false: not kept, whatever the user has consented to.",
        },
        "spring": {
            "type": ["object", "null"],
            "additionalProperties": false,
            "properties": {
                "base": {"type": ["boolean", "null"], "description": "The base answers."},
                "trace": {
                    "type": ["boolean", "null"],
                    "description": "Gate, retrieved texts, λ, and each token's share of them.",
                },
            },
        },
    });
    if let (Some(own), Value::Object(common)) = (own.as_object_mut(), common) {
        own.extend(common);
    }
    own
}

pub(super) fn all() -> Value {
    let mut all = of_answers();
    let others = of_users();
    if let (Some(all), Value::Object(others)) = (all.as_object_mut(), others) {
        all.extend(others);
    }
    all
}

fn of_answers() -> Value {
    let texts = json!({"anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
    ]});
    let choices = |own: Value| {
        json!({
            "type": "object",
            "required": ["id", "object", "created", "model", "choices", "usage"],
            "properties": {
                "id": {"type": "string"},
                "object": {"type": "string"},
                "created": {"type": "integer"},
                "model": {"type": "string"},
                "system_fingerprint": {"type": "string"},
                "choices": {"type": "array", "items": own},
                "usage": refer("Usage"),
            },
        })
    };
    json!({
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {"error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": or_null("string"),
                    "code": {"type": "string"},
                },
            }},
        },
        "Object": {"type": "object"},
        "ChatRequest": {
            "type": "object",
            "required": ["messages"],
            "properties": asking(json!({
                "messages": {"type": "array", "minItems": 1, "items": refer("Turn")},
                "logprobs": or_null("boolean"),
                "top_logprobs": between("integer", 0.0, 20.0),
            })),
        },
        "Turn": {
            "type": "object",
            "required": ["role", "content"],
            "properties": {
                "role": {"enum": ["system", "developer", "user", "assistant"]},
                "content": {"type": "string"},
            },
        },
        "ChatCompletion": choices(json!({
            "type": "object",
            "required": ["index", "message", "finish_reason"],
            "properties": {
                "index": {"type": "integer"},
                "message": {
                    "type": "object",
                    "required": ["role", "content"],
                    "properties": {"role": {"const": "assistant"}, "content": {"type": "string"}},
                },
                "finish_reason": {"enum": ["stop", "length"]},
            },
        })),
        "CompletionRequest": {
            "type": "object",
            "required": ["prompt"],
            "properties": asking(json!({
                "prompt": texts.clone(),
                "logprobs": between("integer", 0.0, 20.0),
                "echo": or_null("boolean"),
            })),
        },
        "Completion": choices(json!({
            "type": "object",
            "required": ["index", "text", "finish_reason"],
            "properties": {
                "index": {"type": "integer"},
                "text": {"type": "string"},
                "finish_reason": {"enum": ["stop", "length"]},
            },
        })),
        "Usage": {
            "type": "object",
            "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
            "properties": {
                "prompt_tokens": {"type": "integer"},
                "completion_tokens": {"type": "integer"},
                "total_tokens": {"type": "integer"},
            },
        },
        "Model": {
            "type": "object",
            "required": ["id", "object", "created", "owned_by"],
            "properties": {
                "id": {"type": "string"},
                "object": {"const": "model"},
                "created": {"type": "integer"},
                "owned_by": {"type": "string"},
                "parent": {"type": "string"},
                "max_model_len": {"type": "integer"},
            },
        },
        "EmbeddingRequest": {
            "type": "object",
            "required": ["input"],
            "properties": {
                "input": texts,
                "model": or_null("string"),
                "encoding_format": {"enum": ["float", "base64", null]},
                "dimensions": or_null("integer"),
                "user": or_null("string"),
            },
        },
        "Embedding": {
            "type": "object",
            "required": ["object", "index", "embedding"],
            "properties": {
                "object": {"const": "embedding"},
                "index": {"type": "integer"},
                "embedding": {"type": ["array", "string"]},
            },
        },
        "TokenizeRequest": {
            "type": "object",
            "properties": {
                "model": or_null("string"),
                "prompt": or_null("string"),
                "messages": {"type": ["array", "null"], "items": refer("Turn")},
                "add_special_tokens": or_null("boolean"),
                "return_token_strs": or_null("boolean"),
            },
        },
        "DetokenizeRequest": {
            "type": "object",
            "required": ["tokens"],
            "properties": {
                "model": or_null("string"),
                "tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            },
        },
    })
}

fn of_users() -> Value {
    json!({
        "User": {
            "type": "object",
            "required": ["id", "interactions", "pending", "generation", "consent"],
            "properties": {
                "id": {"type": "string"},
                "interactions": {"type": "integer"},
                "pending": {"type": "integer"},
                "generation": {"type": "integer"},
                "consent": {"type": "boolean"},
            },
        },
        "NewInteraction": {
            "type": "object",
            "required": ["response"],
            "additionalProperties": false,
            "properties": {
                "id": or_null("string"),
                "time": {"type": ["string", "null"], "description": "RFC 3339, with a zone."},
                "prompt": {"type": "string"},
                "response": {"type": "string", "minLength": 1},
                "meta": {},
            },
        },
        "NewInteractions": {"anyOf": [
            refer("NewInteraction"),
            {"type": "array", "minItems": 1, "items": refer("NewInteraction")},
            {
                "type": "object",
                "required": ["interactions"],
                "additionalProperties": false,
                "properties": {
                    "interactions": {
                        "type": "array",
                        "minItems": 1,
                        "items": refer("NewInteraction"),
                    },
                },
            },
        ]},
        "Interaction": {
            "type": "object",
            "required": ["id", "time", "prompt", "response", "meta", "period", "held_out"],
            "properties": {
                "id": {"type": "string"},
                "time": {"type": "string"},
                "prompt": {"type": "string"},
                "response": {"type": "string"},
                "meta": {},
                "period": or_null("integer"),
                "held_out": {"type": "boolean"},
            },
        },
        "Adaptation": {
            "type": "object",
            "required": ["id", "state", "cause", "created"],
            "properties": {
                "id": {"type": "string"},
                "state": {"enum": ["waiting", "running", "done", "failed", "cancelled"]},
                "generation": or_null("integer"),
                "error": or_null("string"),
            },
        },
        "Receipt": {
            "type": "object",
            "required": ["user", "interaction", "time", "removed", "relearned"],
            "properties": {
                "user": {"type": "string"},
                "interaction": or_null("string"),
                "time": {"type": "string"},
                "removed": {"type": "array", "items": {
                    "type": "object",
                    "required": ["place", "count"],
                    "properties": {"place": {"type": "string"}, "count": {"type": "integer"}},
                }},
                "relearned": {"type": "array", "items": {"type": "integer"}},
                "priors": {"type": "array", "items": {"type": "integer"}},
            },
        },
        "RollbackRequest": {
            "type": "object",
            "required": ["to"],
            "properties": {"to": {"type": "integer", "minimum": 0, "maximum": u32::MAX}},
        },
        "Feedback": {
            "type": "object",
            "required": ["response_id", "text"],
            "properties": {
                "response_id": {"type": "string", "minLength": 1},
                "choice": {"type": "integer", "minimum": 0},
                "text": {"type": "string", "minLength": 1},
            },
        },
        "Consent": {
            "type": "object",
            "required": ["keep_conversations", "since", "contribute", "contribute_since"],
            "properties": {
                "keep_conversations": {"type": "boolean"},
                "since": or_null("string"),
                "contribute": {
                    "type": "boolean",
                    "description": "Whether a prior may be learned of the person's texts.",
                },
                "contribute_since": or_null("string"),
            },
        },
        "Route": {
            "type": "object",
            "required": ["user", "replica", "second"],
            "properties": {
                "user": or_null("string"),
                "replica": {"type": "string"},
                "second": or_null("string"),
            },
        },
        "ConsentRequest": {
            "type": "object",
            "minProperties": 1,
            "properties": {
                "keep_conversations": {"type": "boolean"},
                "contribute": {"type": "boolean"},
            },
        },
    })
}
