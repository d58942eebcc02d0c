"""Drives a running server with openai-python.

    python with_openai.py URL [--key KEY] [--user USER] [--per-key N] [--ending PID] [--keys]

The server lets one key have N answers in its queue. With --ending, nothing is done but that the process
is sent SIGTERM in the middle of a stream. With --keys, nothing is done but what keys are for: KEY is that
of one user, and may make some requests in a minute.
"""

import argparse
import math
import os
import signal
import threading
import time
import urllib.request

import openai

TEXT = "Dear all, thank you for the long talk about the garden yesterday; I wrote down"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--user")
    parser.add_argument("--per-key", type=int, default=2)
    parser.add_argument("--ending", type=int)
    parser.add_argument("--keys", action="store_true")
    return parser.parse_args()


class Driver:
    def __init__(self, options):
        self.options = options
        base = options.url.rstrip("/") + "/v1"
        self.client = openai.OpenAI(base_url=base, api_key=options.key, max_retries=20)
        self.hasty = self.client.with_options(max_retries=0)
        self.model = self.client.models.list().data[0].id

    def chat(self, client=None, **more):
        asked = dict(model=self.model, messages=[{"role": "user", "content": TEXT}], seed=1)
        asked.update(more)
        return (client or self.client).chat.completions.create(**asked)

    def text_of(self, stream):
        return "".join(
            chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices
        )

    def metric(self, name):
        request = urllib.request.Request(
            self.options.url.rstrip("/") + "/metrics",
            headers={"Authorization": f"Bearer {self.options.key}"},
        )
        with urllib.request.urlopen(request) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def models(self):
        card = self.client.models.retrieve(self.model)
        assert card.id == self.model and card.object == "model", card

    def stream_is_the_whole_answer(self):
        whole = self.chat(max_tokens=24)
        text = whole.choices[0].message.content
        assert whole.choices[0].finish_reason in ("stop", "length"), whole
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        chunks = list(
            self.chat(max_tokens=24, stream=True, stream_options={"include_usage": True})
        )
        assert self.text_of(chunks) == text, (self.text_of(chunks), text)
        assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage, chunks[-1]
        assert all(chunk.usage is None for chunk in chunks[:-1])
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        assert whole.system_fingerprint
        silent = list(self.chat(max_tokens=4, stream=True))
        assert all(chunk.choices for chunk in silent), "usage was not asked for"

    def helper_of_streams(self):
        with self.client.chat.completions.stream(
            model=self.model, messages=[{"role": "user", "content": TEXT}], max_tokens=8, n=2
        ) as stream:
            for _ in stream:
                pass
            try:
                final = stream.get_final_completion()
            except openai.LengthFinishReasonError as error:
                # This helper takes a text that was cut for an error.
                final = error.completion
        assert len(final.choices) == 2, final
        assert all(choice.finish_reason for choice in final.choices)

    def seeds(self):
        hot = dict(temperature=1.5, max_tokens=24)
        one, same, other = (
            self.chat(**hot, seed=seed).choices[0].message.content for seed in (5, 5, 6)
        )
        assert one == same, (one, same)
        assert one != other, "another seed should give another text"

    def stops(self):
        text = self.chat(max_tokens=24).choices[0].message.content
        stop = text[len(text) // 2 :][:3]
        stops = ["@@1", "@@2", "@@3", "@@4", "@@5", stop]
        cut = self.chat(max_tokens=24, stop=stops).choices[0]
        assert cut.message.content == text[: text.index(stop)], (text, stop, cut)
        assert cut.finish_reason == "stop"
        streamed = self.text_of(self.chat(max_tokens=24, stop=stops, stream=True))
        assert streamed == cut.message.content

    def logprobs(self):
        choice = self.chat(max_tokens=6, logprobs=True, top_logprobs=2).choices[0]
        tokens = choice.logprobs.content
        assert b"".join(bytes(token.bytes) for token in tokens).decode(errors="ignore").startswith(
            choice.message.content[:3]
        ), choice
        for token in tokens:
            assert token.logprob <= 0 and len(token.top_logprobs) == 2, token
        chunks = self.chat(max_tokens=6, logprobs=True, top_logprobs=2, stream=True)
        streamed = [
            token
            for chunk in chunks
            if chunk.choices and chunk.choices[0].logprobs
            for token in chunk.choices[0].logprobs.content
        ]
        assert [token.token for token in streamed] == [token.token for token in tokens]
        for ours, theirs in zip(streamed, tokens):
            assert math.isclose(ours.logprob, theirs.logprob, abs_tol=1e-5)

    def completions(self):
        answer = self.client.completions.create(
            model=self.model, prompt=[TEXT, "Hello"], max_tokens=6, logprobs=2
        )
        assert [choice.index for choice in answer.choices] == [0, 1], answer
        logprobs = answer.choices[0].logprobs
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
        chunks = self.client.completions.create(
            model=self.model, prompt=TEXT, max_tokens=6, stream=True
        )
        ends = [chunk.choices[0].finish_reason for chunk in chunks]
        assert ends[-1] and not any(ends[:-1]), ends

    def embeddings(self):
        asked = dict(model=self.model, input=["a garden", "a talk"])
        try:
            encoded = self.client.embeddings.create(**asked)
        except openai.BadRequestError as error:
            assert error.code == "unsupported_parameter", error
            return
        plain = self.client.embeddings.create(**asked, encoding_format="float")
        for one, other in zip(encoded.data, plain.data):
            assert len(one.embedding) == len(other.embedding)
            assert all(
                math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6)
                for a, b in zip(one.embedding, other.embedding)
            )

    def refusals(self):
        def refused(kind, code, **more):
            try:
                self.chat(stream=True, **more)
            except kind as error:
                assert error.code == code, error
                assert error.request_id, "x-request-id is missing"
                return
            raise AssertionError(f"{more} was not refused")

        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        refused(openai.BadRequestError, "unsupported_parameter", tools=[tool])
        refused(
            openai.BadRequestError,
            "unsupported_parameter",
            response_format={"type": "json_object"},
        )
        refused(openai.BadRequestError, "invalid_value", temperature=9)
        refused(openai.NotFoundError, "model_not_found", model="gpt-4o")
        refused(openai.BadRequestError, "context_length_exceeded", max_tokens=30000)
        if not self.options.user:
            refused(openai.NotFoundError, "user_not_found", model=f"{self.model}:nobody-here")
        answered = self.chat(max_tokens=2, extra_body={"chat_template_kwargs": {}})
        assert answered.choices

    def user(self):
        user = self.options.user
        if not user:
            return
        for more in (dict(model=f"{self.model}:{user}"), dict(user=user)):
            answer = self.chat(max_tokens=4, **more)
            assert answer.model == f"{self.model}:{user}", answer.model
        traced = self.chat(max_tokens=4, user=user, extra_body={"spring": {"trace": True}})
        assert traced.spring["user"] == user, traced

    def cancelling(self):
        ends = ("spring_request_cancelled_total", "spring_request_success_total")
        before = [self.metric(name) for name in ends]
        stream = self.chat(stream=True, n=2, temperature=1.0)
        next(iter(stream))
        stream.close()
        for _ in range(200):
            # It may have ended before it could be cancelled.
            if any(self.metric(name) > then for name, then in zip(ends, before)):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the answer was not cancelled")

    def slowing_down(self):
        failures, told = [], []

        def hasty():
            try:
                self.chat(self.hasty, n=2, max_tokens=64)
            except openai.RateLimitError as error:
                assert error.code == "slow_down", error
                assert 0 < float(error.response.headers["retry-after"]) <= 120
                assert float(error.response.headers["retry-after-ms"]) > 0
                told.append(error)

        def patient():
            try:
                self.chat(n=2, max_tokens=16)
            except openai.APIError as error:
                failures.append(error)

        for _ in range(10):
            # Some are being written beside those that wait.
            count = self.options.per_key + 40
            threads = [threading.Thread(target=hasty) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if told:
                break
        assert told, "any number of requests at once was not too many"
        threads = [threading.Thread(target=patient) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures

    def keys(self):
        def refused(kind, code, client=self.hasty, **more):
            try:
                self.chat(client, max_tokens=1, **more)
            except kind as error:
                assert error.code == code, error
                return error
            raise AssertionError(f"{more} was not refused")

        stranger = self.hasty.with_options(api_key="sk-spring-of-nobody")
        error = refused(openai.AuthenticationError, "invalid_api_key", stranger)
        assert error.response.headers["www-authenticate"] == "Bearer", error.response.headers
        refused(openai.NotFoundError, "user_not_found", user="somebody-else")
        refused(openai.NotFoundError, "model_not_found", model=f"{self.model}:somebody-else")
        assert self.chat(max_tokens=1).model == f"{self.model}:{self.options.user}"
        for _ in range(200):
            try:
                self.hasty.models.list()
            except openai.RateLimitError as error:
                assert error.code == "rate_limit_exceeded", error
                headers = error.response.headers
                assert 0 < float(headers["retry-after"]) <= 120, headers
                assert headers["x-ratelimit-remaining-requests"] == "0", headers
                assert int(headers["x-ratelimit-limit-requests"]) > 0, headers
                break
        else:
            raise AssertionError("any number of requests in a minute was not too many")
        # It waits as it is told, and tries again.
        assert self.client.models.list().data

    def ending(self):
        stopped = False
        try:
            for _ in range(1000):
                stream = self.chat(self.hasty, stream=True, temperature=1.0, n=2)
                for chunk in stream:
                    if not stopped:
                        os.kill(self.options.ending, signal.SIGTERM)
                        stopped = True
        # Either the stream is cut by an error object, or it ended in time and the next request
        # is refused, or nobody listens any more. None is taken for an answer.
        except openai.APIConnectionError:
            assert stopped
        except openai.APIError as error:
            assert stopped and error.code == "server_shutting_down", error
        else:
            raise AssertionError("the server did not end")


EVERYTHING = (
    "models",
    "stream_is_the_whole_answer",
    "helper_of_streams",
    "seeds",
    "stops",
    "logprobs",
    "completions",
    "embeddings",
    "refusals",
    "user",
    "cancelling",
    "slowing_down",
)


def main():
    options = arguments()
    driver = Driver(options)
    if options.keys:
        names = ["keys"]
    elif options.ending:
        names = ["ending"]
    else:
        names = EVERYTHING
    for name in names:
        getattr(driver, name)()
        print(f"openai-python {openai.__version__}: {name} ok", flush=True)


if __name__ == "__main__":
    main()
