"""`classify watch` ends cleanly on Ctrl+C, whatever it does just then, and outlives its broker."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from classifier_client import AsyncClient
from classifier_client.cli.mqtt_bridge import Broker, Options, watch_always
from classifier_client.cli.watch import parse_address

from testing.mqtt_broker import MqttBroker, mqtt_broker
from testing.photographs import COFFEE
from testing.ports import free_port
from testing.servers import PROJECT, Server
from testing.waiting import PATIENCE_S, eventually

AT_ONCE = 3

# The command, which gets Ctrl+C at the very moment at which it takes one answer of the broker.
STOPPED_AT = """
import os, signal, sys
import aiomqtt
from classifier_client.cli.watch import parse_address
from classifier_client.cli import main

moment = sys.argv.pop(1)
taken = getattr(aiomqtt.Client, moment)

def taken_and_stopped(*answer, **named):
    taken(*answer, **named)
    os.kill(os.getpid(), signal.SIGINT)

setattr(aiomqtt.Client, moment, taken_and_stopped)
sys.exit(main.main())
"""


@pytest.mark.parametrize("topic", ["a", "a/+", "#", "a/#", "a?b=c", "a#b", "a/#/b", "ü", "a b"])
def test_a_topic_is_watched_as_it_is_written(topic: str) -> None:
    assert parse_address(f"mqtt://host/{topic}").topic == topic


@pytest.mark.parametrize("moment", ["_on_connect", "_on_subscribe", "_on_message", "_on_publish"])
def test_ctrl_c_ends_it_at_any_moment(tmp_path: Path, moment: str) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "client" / "src"),
        # Nothing listens there, so each image has an error for an answer.
        "IMAGE_API_URL": f"http://127.0.0.1:{free_port()}",
        "IMAGE_API_KEY": "imc_none",
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    async def stopped(broker: MqttBroker) -> tuple[int | None, str]:
        command = [sys.executable, "-c", STOPPED_AT, moment, "watch", f"{broker.address}/cameras/#"]
        bridge = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        assert bridge.stderr is not None
        try:
            if moment in ("_on_message", "_on_publish"):
                assert b"watching" in await asyncio.wait_for(bridge.stderr.readline(), PATIENCE_S)
                async with broker.client() as camera:
                    await camera.publish("cameras/door", b"no image", qos=1)
            _, said = await asyncio.wait_for(bridge.communicate(), PATIENCE_S)
            return bridge.returncode, said.decode()
        finally:
            if bridge.returncode is None:
                bridge.kill()
                await bridge.wait()

    with mqtt_broker() as broker:
        status, said = asyncio.run(stopped(broker))
    assert status == 0, said
    assert "Traceback" not in said
    assert "Exception" not in said


def test_a_broker_that_refuses_the_user_is_told_from_one_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    async def told_at(port: int) -> str:
        async with AsyncClient("http://127.0.0.1:9", "imc_none") as client:
            broker = Broker("127.0.0.1", port, is_encrypted=False, user=None, password=None, topic="cameras")
            watching = asyncio.create_task(watch_always(client, broker, Options(None, None, None, 1)))
            told = await eventually(lambda: capsys.readouterr().err, "the command says what is wrong")
            watching.cancel()
            await asyncio.wait([watching])
            return told

    with mqtt_broker() as broker:
        assert "refuses the connection (Not authorized); trying again." in asyncio.run(told_at(broker.port))
    assert "can't be reached" in asyncio.run(told_at(free_port()))


def environment_for(server: Server, key: str, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "client" / "src"),
        "IMAGE_API_URL": server.url,
        "IMAGE_API_KEY": key,
        "XDG_CONFIG_HOME": str(folder),
    }


def test_a_broker_that_restarts_loses_no_image_that_has_arrived(
    server: Server, new_user: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The server is still at work when the broker goes: the answers wait for it, and then the bridge watches on."""

    key = new_user("--limit", "100/minute")["key"]
    environment = environment_for(server, key, tmp_path)

    async def answered_by_the_second() -> list[str]:
        command = [sys.executable, "-m", "classify_command", "watch", f"{broker.address}/cameras/#"]
        bridge = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        assert bridge.stderr is not None
        workers = server.workers("ImageClassifier")
        try:
            assert b"watching" in await asyncio.wait_for(bridge.stderr.readline(), PATIENCE_S)
            for worker in workers:
                worker.suspend()
            async with broker.client() as camera:
                for number in range(AT_ONCE):
                    await camera.publish(f"cameras/{number}", COFFEE.read_bytes(), qos=1)
            process = psutil.Process(bridge.pid)

            def are_sent() -> bool:
                remote = [one.raddr[1] for one in process.net_connections() if one.raddr]
                return remote.count(server.port) == AT_ONCE

            await eventually(are_sent, "all images are on their way to the server")
            broker.kill()
            assert b"ended the connection; trying again. Images" in await asyncio.wait_for(
                bridge.stderr.readline(), PATIENCE_S
            )
            broker.start()
            async with broker.client() as reader:
                await reader.subscribe("cameras/+/labels", qos=1)
                for worker in workers:
                    worker.resume()
                answers = [await asyncio.wait_for(anext(reader.messages), PATIENCE_S) for _ in range(AT_ONCE)]
            bridge.send_signal(signal.SIGINT)
            await asyncio.wait_for(bridge.communicate(), PATIENCE_S)
            assert bridge.returncode == 0
            return [json.loads(answer.payload)["predictions"][0]["label"] for answer in answers]
        finally:
            for worker in workers:
                worker.resume()
            if bridge.returncode is None:
                bridge.kill()
                await bridge.wait()

    with mqtt_broker() as broker:
        assert asyncio.run(answered_by_the_second()) == ["espresso"] * AT_ONCE
    with server.client(key) as client:
        assert client.get("/v2/usage").json()["total"]["billable_images"] == AT_ONCE


def test_the_broker_keeps_images_for_a_session_that_is_away(
    server: Server, new_user: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    environment = environment_for(server, new_user()["key"], tmp_path)

    async def answered_later(broker: MqttBroker) -> str:
        address = f"{broker.address}/cameras/door"
        command = [sys.executable, "-m", "classify_command", "watch", address, "--session", "hall"]

        async def watched() -> asyncio.subprocess.Process:
            bridge = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
            assert bridge.stderr is not None
            assert b"watching" in await asyncio.wait_for(bridge.stderr.readline(), PATIENCE_S)
            return bridge

        async def stop(bridge: asyncio.subprocess.Process) -> None:
            bridge.send_signal(signal.SIGINT)
            await asyncio.wait_for(bridge.communicate(), PATIENCE_S)

        await stop(await watched())
        async with broker.client() as camera:
            await camera.subscribe("cameras/door/labels", qos=1)
            await camera.publish("cameras/door", COFFEE.read_bytes(), qos=1)
            bridge = await watched()
            answer = await asyncio.wait_for(anext(camera.messages), PATIENCE_S)
            await stop(bridge)
        return str(json.loads(answer.payload)["predictions"][0]["label"])

    with mqtt_broker() as broker:
        assert asyncio.run(answered_later(broker)) == "espresso"
