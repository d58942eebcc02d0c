"""Drives a running server with langchain-openai.

    python with_langchain.py URL [KEY]
"""

import asyncio
import sys
from importlib.metadata import version

import openai
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

TEXT = "Dear all, thank you for the long talk about the garden yesterday; I wrote down"


def main():
    url = sys.argv[1].rstrip("/") + "/v1"
    key = sys.argv[2] if len(sys.argv) > 2 else "none"
    model = openai.OpenAI(base_url=url, api_key=key).models.list().data[0].id
    asked = dict(model=model, base_url=url, api_key=key)

    # max_tokens is sent as max_completion_tokens.
    chat = ChatOpenAI(**asked, max_tokens=16, seed=1, stream_usage=True)
    whole = chat.invoke(TEXT)
    assert whole.usage_metadata["output_tokens"] <= 16, whole
    assert whole.response_metadata["finish_reason"] in ("stop", "length"), whole
    chunks = list(chat.stream(TEXT))
    assert "".join(chunk.text for chunk in chunks) == whole.text, (chunks, whole)
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"], total

    async def streamed():
        return "".join([chunk.text async for chunk in chat.astream(TEXT)])

    assert asyncio.run(streamed()) == whole.text

    scored = ChatOpenAI(**asked, max_tokens=4, logprobs=True, top_logprobs=1).invoke(TEXT)
    assert scored.response_metadata["logprobs"]["content"], scored

    tools = chat.bind_tools([{"type": "function", "function": {"name": "f", "parameters": {}}}])
    try:
        tools.invoke(TEXT)
        raise AssertionError("tools were not refused")
    except openai.BadRequestError as error:
        assert error.code == "unsupported_parameter", error

    text = OpenAI(**asked, max_tokens=8, seed=1).invoke(TEXT)
    assert isinstance(text, str)

    try:
        # It sends token ids of a tokenizer that is not this model's, unless it is told not to.
        embeddings = OpenAIEmbeddings(**asked, check_embedding_ctx_length=False)
        vectors = embeddings.embed_documents(["a garden", "a talk"])
        assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) > 0
    except openai.BadRequestError as error:
        assert error.code == "unsupported_parameter", error
    print(f"langchain-openai {version('langchain-openai')}: ok")


if __name__ == "__main__":
    main()
