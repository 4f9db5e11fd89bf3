"""One server for the tests of a module; each test resets what its daemon does."""

import attrs
import openai
import pytest

from tests.checkpoints import make_tokenizer
from tests.executor.api.fake_serving import FakeServing, served


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(directory)
    return directory


@pytest.fixture(scope="session")
def reference(tokenizer_directory):
    import transformers

    return transformers.AutoTokenizer.from_pretrained(tokenizer_directory)


@pytest.fixture(scope="module")
def running(tokenizer_directory):
    serving = FakeServing(tokenizer_directory)
    with served(serving) as url:
        yield serving, url


@pytest.fixture
def serving(running, tokenizer_directory):
    serving, _ = running
    fresh = FakeServing(tokenizer_directory)
    for field in attrs.fields(FakeServing):
        if field.name != "registry":
            setattr(serving, field.name, getattr(fresh, field.name))
    return serving


@pytest.fixture
def url(running, serving):
    return running[1]


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client
