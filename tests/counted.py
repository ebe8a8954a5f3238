"""What a server has counted for a key, as it tells the caller."""

from testing.servers import Server


def successes(server: Server, key: str) -> int:
    with server.client(key) as client:
        return int(client.get("/v1/usage").json()["successful_requests"])


def billed(server: Server, key: str) -> int:
    with server.client(key) as client:
        return int(client.get("/v2/usage").json()["total"]["billable_images"])
