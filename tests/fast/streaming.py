"""What the tests of `/v2/stream` in process share."""

from testing.asgi_web_socket import WebSocket
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey

STREAM = "/v2/stream"
RED, BLUE = image_of("red"), image_of("blue", "JPEG", (30, 20))
GOING_AWAY, NOT_PERMITTED, RESTARTS = 1001, 1008, 1012


async def opened(gateway: InProcessGateway, key: IssuedKey, query: str = "") -> WebSocket:
    socket = gateway.web_socket(STREAM + query, key)
    await socket.accepted()
    return socket


def frames(gateway: InProcessGateway) -> list[tuple[int, int]]:
    """Status and images of the row of each message."""
    rows = gateway.usage_rows()
    return [(row["status"], row["images"]) for row in rows if row["method"] == "POST"]
