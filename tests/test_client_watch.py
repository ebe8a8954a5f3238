"""`classify watch` ends cleanly on Ctrl+C, whatever it does just then. A broker is there; no classifier is needed."""

import asyncio
import os
import sys
from pathlib import Path

import aiomqtt
import pytest
from amqtt.broker import Broker

from testing.ports import free_port
from testing.servers import PROJECT
from testing.waiting import PATIENCE_S
from tests.test_client_server import PLUGINS

# The command, which gets Ctrl+C at the very moment at which it takes one answer of the broker.
STOPPED_AT = """
import os, signal, sys
import aiomqtt
from classifier_client.cli import main

moment = sys.argv.pop(1)
taken = getattr(aiomqtt.Client, moment)

def taken_and_stopped(*answer, **named):
    taken(*answer, **named)
    os.kill(os.getpid(), signal.SIGINT)

setattr(aiomqtt.Client, moment, taken_and_stopped)
sys.exit(main.main())
"""


@pytest.mark.parametrize("moment", ["_on_connect", "_on_subscribe", "_on_message", "_on_publish"])
def test_ctrl_c_ends_it_at_any_moment(tmp_path: Path, moment: str) -> None:
    port = free_port()
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    command = [sys.executable, "-c", STOPPED_AT, moment, "watch", f"mqtt://127.0.0.1:{port}/cameras/#"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "client" / "src"),
        # Nothing listens there, so each image has an error for an answer.
        "IMAGE_API_URL": f"http://127.0.0.1:{free_port()}",
        "IMAGE_API_KEY": "imc_none",
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    async def stopped() -> tuple[int | None, str]:
        broker = Broker({"listeners": listeners, "plugins": PLUGINS})
        await broker.start()
        bridge = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        assert bridge.stderr is not None
        try:
            if moment in ("_on_message", "_on_publish"):
                assert b"watching" in await asyncio.wait_for(bridge.stderr.readline(), PATIENCE_S)
                async with aiomqtt.Client("127.0.0.1", port) as camera:
                    await camera.publish("cameras/door", b"no image", qos=1)
            _, said = await asyncio.wait_for(bridge.communicate(), PATIENCE_S)
            return bridge.returncode, said.decode()
        finally:
            if bridge.returncode is None:
                bridge.kill()
                await bridge.wait()
            await broker.shutdown()

    status, said = asyncio.run(stopped())
    assert status == 0, said
    assert "Traceback" not in said
    assert "Exception" not in said
