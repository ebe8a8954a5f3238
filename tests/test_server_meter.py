"""The meter of servers, checked against work of a known size, so that no bound is held by a meter that sees nothing."""

import contextlib
import subprocess
import sys

import pytest

from testing import server_meter
from testing.ports import free_port, is_listening
from testing.server_meter import IdleUsage, Meter
from testing.waiting import wait_until

AT_REST = IdleUsage(memory_mb=0, probe_cpu_s=0)


def test_the_meter_sees_what_a_process_costs_and_its_dead_children_did() -> None:
    spend = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
    hold = "held = b'x' * 200_000_000; import time; time.sleep(0.3)\n"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spend + hold!r}]); print(1); input()"
    with (
        subprocess.Popen([sys.executable, "-uc", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        meter = stack.enter_context(Meter(process.pid, 1, AT_REST))
        assert process.stdout is not None
        process.stdout.readline()
        meter.stop()
        assert 0.4 <= meter.cpu_s < 1.5
        assert 190 < meter.memory_mb < 260
        assert server_meter.becomes_idle_within(process.pid, 1)


SERVE = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version, asked = "HTTP/1.1", 0

    def do_GET(self):
        Handler.asked += 1
        end = time.process_time() + 0.3
        if Handler.asked == 5 and sys.argv[1] == "sleeps":
            time.sleep(0.3)
        while Handler.asked == 5 and sys.argv[1] == "computes" and time.process_time() < end:
            pass
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.mark.parametrize("what", ["sleeps", "computes"])
def test_the_meter_sees_a_pause_of_the_event_loop_whether_it_sleeps_or_computes(what: str) -> None:
    port = free_port()
    # The name by which the meter finds the process.
    command = [sys.executable, "-c", SERVE, what, str(port), "--service-name", "ImageClassifier", "it"]
    with subprocess.Popen(command) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        wait_until(lambda: is_listening(port), "it listens")
        assert server_meter.event_loop(process.pid) == process.pid
        meter = stack.enter_context(Meter(process.pid, port, AT_REST))
        wait_until(lambda: meter.pause_ms > 290, lambda: f"a pause of 300 ms; {meter.pause_ms} ms were seen")
