//! `POST /v1/completions`

use serde_json::{Value, json};

use crate::common::Running;

const PATH: &str = "/v1/completions";

#[test]
fn a_stream_is_byte_for_byte_what_clients_expect() {
    let server = Running::start();
    let body = json!({"model": "echo", "prompt": "ab", "stream": true});
    let reply = server.client.stream(PATH, &body).whole();
    let first = &reply.events()[0];
    let text = reply.text().replace(first["id"].as_str().unwrap(), "ID");
    let text = text.replace(&format!("\"created\":{}", first["created"]), "\"created\":0");
    let chunk = |text: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"ID\",\"object\":\"text_completion\",\"created\":0,\
             \"model\":\"echo\",\"system_fingerprint\":\"fp-0\",\"choices\":[{{\"text\":\"{text}\",\
             \"index\":0,\"logprobs\":null,\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let expected =
        [chunk("a", "null"), chunk("b", "null"), chunk("", "\"stop\""), "data: [DONE]\n\n".into()];
    assert_eq!(text, expected.concat());
}

#[test]
fn a_whole_answer_has_all_fields() {
    let server = Running::start();
    let answer = server.client.post(PATH, &json!({"model": "echo", "prompt": "ab"})).json();
    assert_eq!(answer["object"], "text_completion");
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(
        answer["choices"],
        json!([{"text": "ab", "index": 0, "logprobs": null, "finish_reason": "stop"}])
    );
    assert_eq!(answer["usage"]["total_tokens"], 4);
}

#[test]
fn each_prompt_has_its_choices_in_its_order() {
    let server = Running::start();
    let body = json!({"model": "echo", "prompt": ["ab", "cde"], "n": 2});
    let answer = server.client.post(PATH, &body).json();
    let texts: Vec<&Value> =
        answer["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
    assert_eq!(texts, ["ab", "ba", "cde", "dec"]);
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    let requests = server.service.requests.lock().unwrap();
    assert_eq!(requests[1].response_id, format!("{}.1", answer["id"].as_str().unwrap()));
}

#[test]
fn log_probabilities_have_the_shape_of_completions() {
    let server = Running::start();
    let mut body = json!({"model": "echo", "prompt": "éb", "logprobs": 2});
    let expected = json!({
        "tokens": ["é", "b"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"é": -0.5, "bytes:\\xff": -9999.0}, {"b": -0.5, "bytes:\\xff": -9999.0}],
        "text_offset": [0, 1],
    });
    let answer = server.client.post(PATH, &body).json();
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    body["stream"] = json!(true);
    let events = server.client.stream(PATH, &body).whole().events();
    assert_eq!(events[1]["choices"][0]["logprobs"]["tokens"], json!(["b"]));
    assert_eq!(events[1]["choices"][0]["logprobs"]["text_offset"], json!([1]));
}

#[test]
fn echo_puts_the_prompt_in_front() {
    let server = Running::start();
    let mut body = json!({"model": "echo", "prompt": ["ab", "c"], "echo": true});
    let answer = server.client.post(PATH, &body).json();
    assert_eq!(answer["choices"][0]["text"], "abab");
    assert_eq!(answer["choices"][1]["text"], "cc");
    body["stream"] = json!(true);
    let events = server.client.stream(PATH, &body).whole().events();
    let text: String = events
        .iter()
        .filter(|event| event["choices"][0]["index"] == 0)
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "abab");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let server = Running::start();
    for (more, param) in [
        (json!({"suffix": "}"}), "suffix"),
        (json!({"echo": true, "logprobs": 1}), "echo"),
        (json!({"echo": true, "prompt": [1, 2]}), "echo"),
        (json!({"best_of": 3}), "best_of"),
        (json!({"prompt": ["a", "b"], "spring": {"trace": true}}), "spring.trace"),
    ] {
        let mut body = json!({"model": "echo", "prompt": "a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = server.client.post(PATH, &body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "unsupported_parameter"), "{more}");
        assert_eq!(reply.json()["error"]["param"], param);
    }
    // What autocompletion sends when there is nothing behind the cursor.
    let body = json!({"model": "echo", "prompt": "a", "suffix": "", "best_of": 1, "stop": null});
    assert_eq!(server.client.post(PATH, &body).status, 200);
}
