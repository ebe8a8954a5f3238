"""What is no HTTP at all: uvicorn answers it before any application is asked, and this has it say so in a problem."""

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from problems import request_id
from problems.problem import Problem

NOT_HTTP = "The request is not valid HTTP/1.1; let an HTTP library write it."


class ProblemProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with an error of the form that every other has."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn names it
        shown = request_id.new()
        response = Problem(400, NOT_HTTP, {"Connection": "close", "X-Request-ID": shown}).response(shown)
        head = [b"HTTP/1.1 400 Bad Request", *(b": ".join(header) for header in response.raw_headers)]
        self.transport.write(b"\r\n".join([*head, b"", bytes(response.body)]))
        self.transport.close()


def use() -> None:
    """Have every server of this process speak so; BentoML lets none of its settings name a protocol."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{ProblemProtocol.__name__}"
