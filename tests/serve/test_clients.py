"""Other people's clients against real servers: litellm and mini-swe-agent, in an environment of their own (slow).

`OPENCWM_CLIENTS` names the Python that has them; without it one is made in the cache folder, from the package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

import pytest
from servers import serving

from opencwm.model.fetch import cache_folder

pytestmark = pytest.mark.slow
PACKAGES = ["litellm==1.*", "mini-swe-agent==2.4.6"]

LITELLM = """
import json, sys, litellm
url, name, kind = sys.argv[1:]
common = dict(api_base=url, api_key="none", temperature=0, max_tokens=300)
hello = [{"role": "user", "content": "Say hello."}]
tool = {"type": "function", "function": {"name": "bash", "description": "Runs a command.", "parameters": {
    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}}
if kind == "chat":
    answer = litellm.completion(model=f"openai/{name}", messages=hello, **common)
    message = answer.choices[0].message
    parts = [chunk.choices[0].delta for chunk in
             litellm.completion(model=f"openai/{name}", messages=hello, stream=True, **common)]
    print(json.dumps({"content": message.content, "thought": getattr(message, "reasoning_content", None),
        "streamed": "".join(part.content or "" for part in parts),
        "streamed_thought": "".join(getattr(part, "reasoning_content", None) or "" for part in parts),
        "tokens": answer.usage.total_tokens}))
elif kind == "tools":
    message = litellm.completion(model=f"openai/{name}", messages=hello, tools=[tool], **common).choices[0].message
    streamed = list(litellm.completion(model=f"openai/{name}", messages=hello, tools=[tool], stream=True, **common))
    whole = litellm.stream_chunk_builder(streamed, messages=hello).choices[0].message
    print(json.dumps([[call.function.name, call.function.arguments] for call in [*message.tool_calls, *whole.tool_calls]]))
elif kind == "text":
    model = f"text-completion-openai/{name}"
    print(json.dumps(litellm.text_completion(model=model, prompt="def add(a, b):", **common).choices[0].text))
elif kind == "errors":
    seen = []
    for change in ({"model": "openai/other"}, {"messages": [{"role": "user", "content": "x " * 99999}]}, {"top_p": 7}):
        try:
            litellm.completion(**({"model": f"openai/{name}", "messages": hello} | common | change))
        except Exception as error:
            seen.append(type(error).__name__)
    print(json.dumps(seen))
"""

AGENT = """
import json, sys
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.litellm_model import LitellmModel
url, name, folder, steps = sys.argv[1:]
model = LitellmModel(model_name=f"openai/{name}", cost_tracking="ignore_errors",
                     model_kwargs={"api_base": url, "api_key": "none", "max_tokens": 300})
agent = DefaultAgent(model, LocalEnvironment(cwd=folder), system_template="You fix things.",
                     instance_template="Task: {{task}}", step_limit=int(steps))
outcome = agent.run("Write 42 into answer.txt.")
roles = [message.get("role") for message in agent.messages]
print(json.dumps({"outcome": outcome, "roles": roles, "calls": agent.n_calls}))
"""


@pytest.fixture(scope="module")
def python():
    """A Python that has the clients."""
    if named := os.environ.get("OPENCWM_CLIENTS"):
        return Path(named)
    folder = cache_folder() / "clients"
    found = folder / "bin/python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True)
        done = subprocess.run([found, "-m", "pip", "install", "-q", *PACKAGES], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot install {', '.join(PACKAGES)} (set OPENCWM_CLIENTS to a Python that has them)")
        (folder / "complete").touch()
    return found


def run(python, script, served, *arguments):
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "MSWEA_SILENT_STARTUP": "1", "MSWEA_CONFIGURED": "true"}
    done = subprocess.run(
        [python, "-c", script, f"{served.url}/v1", served.name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_litellm(python, llama3, hub):
    with llama3.say("A greeting.\n</think>\nHello, wörld 🙂!"):
        answer = run(python, LITELLM, llama3, "chat")
    assert answer["content"] == answer["streamed"] == "Hello, wörld 🙂!"
    assert answer["thought"] == answer["streamed_thought"] == "A greeting."
    with llama3.say("x\n</think>\n<tool: bash>\nls -l\n</tool>"):
        assert run(python, LITELLM, llama3, "tools") == [["bash", '{"command": "ls -l"}']] * 2
    with hub.say(" return a + b"):
        assert run(python, LITELLM, hub, "text") == " return a + b"
    wanted = ["NotFoundError", "ContextWindowExceededError", "BadRequestError"]
    assert run(python, LITELLM, hub, "errors") == wanted


def test_mini_swe_agent(python, llama3, tmp_path):
    done = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat answer.txt"
    replies = [
        f"Easy.\n</think>\nI do it.\n<tool: bash>\n{command}\n</tool>" for command in ("echo 42 > answer.txt", done)
    ]
    with llama3.say(*replies):
        result = run(python, AGENT, llama3, tmp_path, 5)
    assert result["outcome"]["exit_status"] == "Submitted" and result["outcome"]["submission"].strip() == "42"
    assert (tmp_path / "answer.txt").read_text() == "42\n" and result["calls"] == 2
    assert result["roles"][:4] == ["system", "user", "assistant", "tool"]


def test_a_real_language_model(python, tmp_path):
    """SmolLM2 chats; as an agent it hardly ever gets the form right, and the agent is told so."""
    folder = cache_folder() / "smollm2-135m"
    if not (folder / "config.json").exists():
        pytest.skip("no SmolLM2: `cwm model fetch smollm2-135m` gets it")
    with serving(folder, context=4096) as served:
        answer = served.client.chat.completions.create(
            model=served.name,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=30,
        )
        assert "Paris" in answer.choices[0].message.content
        chat = run(python, LITELLM, served, "chat")
        assert chat["content"] == chat["streamed"] and "ello" in chat["content"]
        result = run(python, AGENT, served, tmp_path, 3)
        assert result["calls"] <= 3 and result["outcome"]["exit_status"]
