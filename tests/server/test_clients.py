#!/usr/bin/env python3
"""Frameworks and gateways against the server: langchain-openai and litellm.

BRISK names the program (build/brisk), BRISK_TEST_MODEL the default model's file. Run by test.sh --full
in an environment of its own: litellm wants an older `openai`.
"""
import os
import sys
import unittest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # fetch nothing
import litellm  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, need_model  # noqa: E402


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.base = cls.server.url + "/v1"

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def chat(self, **more):
        return ChatOpenAI(base_url=self.base, api_key="x", model="any", temperature=0, max_tokens=10,
                          max_retries=0, **more)

    def test_langchain(self):
        whole = self.chat().invoke("Hello")
        self.assertTrue(whole.content)
        self.assertGreater(whole.usage_metadata["input_tokens"], 0)
        chunks = list(self.chat(stream_usage=True).stream("Hello"))
        self.assertEqual("".join(c.content for c in chunks), whole.content)
        usage = [c.usage_metadata for c in chunks if c.usage_metadata]
        self.assertEqual(usage[-1]["output_tokens"], whole.usage_metadata["output_tokens"])
        self.assertEqual(len(self.chat().batch(["Hello", "Who are you?"])), 2)

    def test_langchain_embeddings(self):
        """Texts as they are: token ids would be those of another model's vocabulary."""
        e = OpenAIEmbeddings(base_url=self.base, api_key="x", model="any",
                             check_embedding_ctx_length=False)
        a, b = e.embed_documents(["a cat", "a dog"])
        self.assertEqual(len(a), len(b))
        for x, y in zip(e.embed_query("a cat"), a):
            self.assertAlmostEqual(x, y, places=6)

    def test_litellm(self):
        ask = dict(model="openai/any", api_base=self.base, api_key="x", temperature=0, max_tokens=10,
                   messages=[{"role": "user", "content": "Hello"}])
        whole = litellm.completion(**ask)
        chunks = litellm.completion(**ask, stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks),
                         whole.choices[0].message.content)
        with self.assertRaises(litellm.ContextWindowExceededError):
            litellm.completion(**{**ask, "messages": [{"role": "user", "content": "word " * 9000}]})
        with self.assertRaises(litellm.BadRequestError):
            litellm.completion(**{**ask, "temperature": -1})


if __name__ == "__main__":
    need_model()
    unittest.main()
