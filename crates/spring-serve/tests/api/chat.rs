//! `POST /v1/chat/completions`

use serde_json::{Value, json};

use crate::common::{Client, Reply, Running};

const PATH: &str = "/v1/chat/completions";

fn ask(text: &str) -> Value {
    json!({"model": "echo", "messages": [{"role": "user", "content": text}]})
}

fn with(text: &str, more: Value) -> Value {
    let mut body = ask(text);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A stream with what differs from run to run replaced.
fn raw(reply: &Reply) -> String {
    let events = reply.events();
    let text = reply.text();
    let Some(first) = events.first() else { return text };
    let text = text.replace(first["id"].as_str().unwrap(), "ID");
    text.replace(&format!("\"created\":{}", first["created"]), "\"created\":0")
}

fn content(reply: &Reply) -> String {
    let texts = reply.events();
    let pieces = texts.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    pieces.collect()
}

fn stream(client: &Client, body: &Value) -> Reply {
    let reply = client.stream(PATH, body).whole();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

#[test]
fn a_stream_is_byte_for_byte_what_clients_expect() {
    let server = Running::start();
    let reply = stream(&server.client, &with("hé", json!({"stream": true})));
    let chunk = |choice: &str| {
        format!(
            "data: {{\"id\":\"ID\",\"object\":\"chat.completion.chunk\",\"created\":0,\
             \"model\":\"echo\",\"system_fingerprint\":\"fp-0\",\"choices\":[{choice}]}}\n\n"
        )
    };
    let delta = |delta: &str, reason: &str| {
        chunk(&format!(
            "{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{reason}}}"
        ))
    };
    let expected = [
        delta(r#"{"role":"assistant","content":""}"#, "null"),
        delta(r#"{"content":"h"}"#, "null"),
        delta(r#"{"content":"é"}"#, "null"),
        delta("{}", "\"stop\""),
        "data: [DONE]\n\n".into(),
    ];
    assert_eq!(raw(&reply), expected.concat());
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
}

#[test]
fn usage_comes_last_and_only_when_asked() {
    let server = Running::start();
    let body = with("hey", json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = stream(&server.client, &body);
    let events = reply.events();
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
               "prompt_tokens_details": {"cached_tokens": 1}})
    );
    for event in others {
        assert!(event.as_object().unwrap().contains_key("usage"), "{event}");
        assert!(event["usage"].is_null(), "{event}");
    }
    assert!(reply.text().ends_with("}\n\ndata: [DONE]\n\n"));
    for options in [Value::Null, json!({"include_usage": false}), json!({"include_usage": null})] {
        let reply = stream(
            &server.client,
            &with("hey", json!({"stream": true, "stream_options": options})),
        );
        assert!(!reply.text().contains("usage"), "{}", reply.text());
        assert!(!reply.text().contains("\"choices\":[]"), "{}", reply.text());
    }
}

#[test]
fn every_choice_says_who_speaks_and_how_it_ends() {
    let server = Running::start();
    let reply = stream(&server.client, &with("abc", json!({"stream": true, "n": 2})));
    let events = reply.events();
    for index in 0..2 {
        let of: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        assert_eq!(of[0]["delta"], json!({"role": "assistant", "content": ""}));
        let (end, others) = of.split_last().unwrap();
        assert_eq!((&end["delta"], &end["finish_reason"]), (&json!({}), &json!("stop")));
        for choice in others {
            assert!(choice.as_object().unwrap().contains_key("finish_reason"));
            assert!(choice["finish_reason"].is_null());
            assert!(choice["delta"]["content"].is_string());
        }
    }
    let whole = server.client.post(PATH, &with("abc", json!({"n": 2}))).json();
    assert_eq!(whole["choices"][0]["message"]["content"], "abc");
    assert_eq!(whole["choices"][1]["message"]["content"], "bca");
    assert_eq!(whole["usage"]["completion_tokens"], 6);
}

#[test]
fn all_pieces_have_one_id_one_time_and_one_model() {
    let server = Running::start();
    let reply = stream(&server.client, &with("abc", json!({"stream": true})));
    let events = reply.events();
    for event in &events {
        for key in ["id", "object", "created", "model"] {
            assert_eq!(event[key], events[0][key]);
        }
    }
    assert!(events[0]["id"].as_str().unwrap().starts_with("chatcmpl-"));
}

#[test]
fn a_whole_answer_has_openais_shape() {
    let server = Running::start();
    let mut answer = server.client.post(PATH, &ask("hi")).json();
    let id = answer["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].take().is_u64());
    assert_eq!(
        answer,
        json!({
            "id": null, "object": "chat.completion", "created": null, "model": "echo",
            "system_fingerprint": "fp-0",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": null},
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4,
                      "prompt_tokens_details": {"cached_tokens": 1}},
        })
    );
}

#[test]
fn spaces_and_newlines_stay_as_they_are() {
    let server = Running::start();
    let text = " a\n\n  b\t\r\n";
    let reply = stream(&server.client, &with(text, json!({"stream": true})));
    assert_eq!(content(&reply), text);
}

#[test]
fn more_than_four_stops_and_null_are_taken() {
    let server = Running::start();
    let stops = json!({"stream": true, "stop": ["1", "2", "3", "4", "5", "cd"]});
    let reply = stream(&server.client, &with("abcdef", stops));
    assert_eq!(content(&reply), "ab");
    let reply = stream(&server.client, &with("abcdef", json!({"stream": true, "stop": null})));
    assert_eq!(content(&reply), "abcdef");
    let reply = stream(&server.client, &with("abcdef", json!({"stream": true, "stop": "e"})));
    assert_eq!(content(&reply), "abcd");
}

#[test]
fn both_names_of_the_most_tokens_are_taken() {
    let server = Running::start();
    let text = |more: Value| {
        let answer = server.client.post(PATH, &with("abcdef", more)).json();
        let choice = &answer["choices"][0];
        (choice["message"]["content"].clone(), choice["finish_reason"].clone())
    };
    assert_eq!(text(json!({"max_tokens": 2})), (json!("ab"), json!("length")));
    assert_eq!(text(json!({"max_completion_tokens": 3})), (json!("abc"), json!("length")));
    let both = json!({"max_completion_tokens": 3, "max_tokens": 2});
    assert_eq!(text(both), (json!("abc"), json!("length")));
    let nulls = json!({"max_completion_tokens": null, "max_tokens": null});
    assert_eq!(text(nulls), (json!("abcdef"), json!("stop")));
}

#[test]
fn a_seed_reaches_the_engine_and_comes_with_a_fingerprint() {
    let server = Running::start();
    let answer = server.client.post(PATH, &with("abc", json!({"seed": 1}))).json();
    assert_eq!(answer["choices"][0]["message"]["content"], "bca");
    assert_eq!(answer["system_fingerprint"], "fp-0");
}

#[test]
fn log_probabilities_are_in_both_forms_of_an_answer() {
    let server = Running::start();
    let asked = json!({"logprobs": true, "top_logprobs": 2});
    let answer = server.client.post(PATH, &with("hé", asked)).json();
    let content = &answer["choices"][0]["logprobs"]["content"];
    assert_eq!(content[0]["token"], "h");
    assert_eq!(content[0]["logprob"], -0.5);
    assert_eq!(content[1]["bytes"], json!([195, 169]));
    assert_eq!(
        content[0]["top_logprobs"][0],
        json!({"token": "h", "logprob": -0.5, "bytes": [104]})
    );
    // Minus infinity, which JSON does not have.
    assert_eq!(content[0]["top_logprobs"][1]["logprob"], -9999.0);
    let body = with("hé", json!({"logprobs": true, "stream": true}));
    let streamed: Vec<Value> = stream(&server.client, &body)
        .events()
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array().cloned())
        .flatten()
        .collect();
    assert_eq!(streamed.len(), 2);
    assert_eq!(
        streamed[1],
        json!({"token": "é", "logprob": -0.5, "bytes": [195, 169],
                                   "top_logprobs": []})
    );
    let refused = server.client.post(PATH, &with("h", json!({"top_logprobs": 2})));
    assert_eq!((refused.status, refused.code()), (400, "invalid_value".into()));
}

#[test]
fn what_is_wrong_is_said_before_a_stream_begins() {
    let server = Running::start();
    for (more, status, code, param) in [
        (json!({"model": "gpt-4o"}), 404, "model_not_found", json!("model")),
        (json!({"model": "echo:nobody"}), 404, "user_not_found", Value::Null),
        (json!({"messages": []}), 400, "invalid_value", json!("messages")),
        (json!({"n": 0}), 400, "invalid_value", json!("n")),
        (json!({"n": 1000}), 400, "invalid_value", json!("n")),
        (json!({"temperature": 3}), 400, "invalid_value", json!("temperature")),
        (json!({"temperature": "hot"}), 400, "invalid_type", json!("temperature")),
        (json!({"top_p": 0}), 400, "invalid_value", json!("top_p")),
        (json!({"stop": ["a", ""]}), 400, "invalid_value", json!("stop")),
        (json!({"stop": [1]}), 400, "invalid_type", json!("stop")),
        (json!({"max_tokens": 0}), 400, "invalid_value", json!("max_tokens")),
        (json!({"max_tokens": 4096}), 400, "context_length_exceeded", Value::Null),
        (json!({"tools": [{"type": "function"}]}), 400, "unsupported_parameter", json!("tools")),
        (json!({"functions": [{"name": "f"}]}), 400, "unsupported_parameter", json!("functions")),
        (json!({"tool_choice": "required"}), 400, "unsupported_parameter", json!("tool_choice")),
        (
            json!({"response_format": {"type": "json_object"}}),
            400,
            "unsupported_parameter",
            json!("response_format"),
        ),
        (json!({"logit_bias": {"1": 5}}), 400, "unsupported_parameter", json!("logit_bias")),
        (json!({"spring": {"trcae": true}}), 400, "invalid_value", json!("spring.trcae")),
        (json!({"stream_options": 1}), 400, "invalid_type", json!("stream_options")),
    ] {
        let body = with("hello", json!({"stream": true}));
        let mut body = body.as_object().unwrap().clone();
        body.extend(more.as_object().unwrap().clone());
        let reply = server.client.post(PATH, &Value::Object(body));
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{more}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{more}");
        assert!(error["message"].is_string() && error["type"].is_string());
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[test]
fn requests_that_ask_for_no_tools_are_answered() {
    let server = Running::start();
    for more in [
        json!({"tools": [], "tool_choice": "auto", "functions": null}),
        json!({"tool_choice": "none", "parallel_tool_calls": true}),
        json!({"response_format": {"type": "text"}, "modalities": ["text"], "logit_bias": {}}),
    ] {
        assert_eq!(server.client.post(PATH, &with("hi", more.clone())).status, 200, "{more}");
    }
}

#[test]
fn unknown_fields_are_accepted_and_named() {
    let server = Running::start();
    let more = json!({"store": true, "chat_template_kwargs": {}, "reasoning_effort": "low",
                      "temperature": null, "metadata": null});
    let reply = server.client.post(PATH, &with("hi", more));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-spring-ignored"), Some("chat_template_kwargs, reasoning_effort"));
}

#[test]
fn what_fails_in_a_stream_is_an_error_object_and_tells_no_secret() {
    let server = Running::start();
    for text in ["!fail now", "!drop now"] {
        let reply = stream(&server.client, &with(text, json!({"stream": true})));
        let text = reply.text();
        let last = reply.events().pop().unwrap();
        assert_eq!(last["error"]["code"], "internal_error", "{text}");
        assert!(last["error"]["message"].is_string());
        assert!(!text.contains("secret"), "{text}");
        assert!(!text.contains("[DONE]"), "{text}");
    }
    for text in ["!fail now", "!drop now", "!panic now", "!internal"] {
        let reply = server.client.post(PATH, &ask(text));
        assert_eq!((reply.status, reply.code()), (500, "internal_error".into()));
        assert!(!reply.text().contains("secret"));
    }
    assert_eq!(server.client.post(PATH, &ask("still there")).status, 200);
}

#[test]
fn the_answer_names_the_model_that_answers() {
    let server = Running::start();
    server.client.put("/v1/users/ada", &json!({}));
    for more in [
        json!({"model": "echo:ada"}),
        json!({"user": "ada"}),
        json!({"user": "ada", "model": null}),
    ] {
        let mut streaming = more.clone();
        streaming["stream"] = json!(true);
        let whole = server.client.post(PATH, &with("hi", more.clone()));
        assert_eq!(whole.json()["model"], "echo:ada", "{more}");
        assert_eq!(whole.json()["choices"][0]["message"]["content"], "ada: hi", "{more}");
        assert_eq!(whole.header("x-spring-generation"), Some("7"));
        let streamed = stream(&server.client, &with("hi", streaming));
        assert_eq!(streamed.events()[0]["model"], "echo:ada", "{more}");
        assert_eq!(content(&streamed), "ada: hi", "{more}");
    }
    let base =
        server.client.post(PATH, &with("hi", json!({"user": "ada", "spring": {"base": true}})));
    assert_eq!(base.json()["model"], "echo");
    assert_eq!(base.header("x-spring-generation"), Some("0"));
}

#[test]
fn how_an_answer_came_about_is_told_when_asked() {
    let server = Running::start();
    server.client.put("/v1/users/ada", &json!({}));
    let asked = json!({"user": "ada", "spring": {"trace": true}, "stream": true,
                       "stream_options": {"include_usage": true}});
    let events = stream(&server.client, &with("h", asked.clone())).events();
    assert_eq!(
        events[1]["choices"][0]["spring"],
        json!({"tokens": [{"text": "a", "bytes": [97], "retrieval_share": 0.25}]})
    );
    let end = &events[events.len() - 2];
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!(end["spring"]["user"], "ada");
    assert_eq!(end["spring"]["generation"], 7);
    assert_eq!(end["spring"]["gate"]["open"], true);
    assert_eq!(end["spring"]["retrieved"][0]["id"], "t1");
    assert_eq!(events.last().unwrap()["choices"], json!([]));
    let mut whole = asked;
    whole.as_object_mut().unwrap().retain(|key, _| !key.starts_with("stream"));
    let answer = server.client.post(PATH, &with("h", whole)).json();
    assert_eq!(answer["spring"]["lambda"], 0.5);
    assert_eq!(answer["choices"][0]["spring"]["tokens"].as_array().unwrap().len(), 6);
    let plain = server.client.post(PATH, &with("h", json!({"user": "ada"})));
    assert!(!plain.text().contains("spring"), "{}", plain.text());
}
