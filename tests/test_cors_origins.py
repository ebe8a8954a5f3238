"""`CLASSIFIER_CORS_ORIGINS`: origins as browsers write them, and what is none."""

import pytest

from configs.settings import Settings, SettingsError, load_settings

SHOP, LOCAL = "https://shop.example", "http://localhost:5173"


def test_origins_are_read_as_browsers_write_them() -> None:
    written = (
        "https://Shop.example:443 ,http://a.example:80,http://[::1]:8080, capacitor://localhost,,https://b.example:080"
    )
    assert Settings(cors_origins=written).cors_origins.split(",") == [
        "https://shop.example",
        "http://a.example",
        "http://[::1]:8080",
        "capacitor://localhost",
        "https://b.example:80",
    ]
    assert Settings(cors_origins="").cors_origins == Settings(cors_origins=" , ").cors_origins == ""


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "null",
        "shop.example",
        "https://",
        "https://*.shop.example",
        "https://shop.example/",
        "https://shop.example/page",
        "https://shop.example?x",
        "https://shop.example:port",
        "https://shop.example:99999",
        "https://user:secret@shop.example",
        "https://bücher.example",
        '["https://shop.example"]',
        f"{SHOP};{LOCAL}",
        f"{SHOP},elsewhere",
    ],
)
def test_what_is_no_origin_stops_the_start(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("CLASSIFIER_CORS_ORIGINS", wrong)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    said = str(raised.value)
    assert said.startswith("CLASSIFIER_CORS_ORIGINS: ")
    assert "https://shop.example" in said
    assert "secret" not in said
    assert "\n" not in said
