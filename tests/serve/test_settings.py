import importlib.util

import pytest

from kineograph.errors import RequestError
from kineograph.serve.settings import Settings, Tier, as_environment, as_toml, load_settings


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path):
    path = tmp_path / "kineo.toml"
    path.write_text('port = 1000\nhost = "0.0.0.0"\npoll = 1\n\n[tiers.gold]\nweight = 9\n')
    settings = load_settings(path, {"KINEO_HOST": "::1", "KINEO_WORKERS": "3"}, {"workers": 2})
    assert (settings.port, settings.host, settings.workers, settings.poll) == (1000, "::1", 2, 1.0)
    assert settings.tier("gold") == Tier(weight=9.0)
    assert settings.tier("gone") == settings.tier("free") == Tier()


def test_a_file_and_an_environment_make_the_settings_again(tmp_path):
    made = Settings(port=1234, prices={"nano": 0.5}, tiers={"free": Tier(in_hand=7)}, log="error")
    path = tmp_path / "kineo.toml"
    path.write_text(as_toml(made))
    again = load_settings(path, {})
    assert again.tiers["free"] == Tier(in_hand=7)
    assert (again.port, again.prices, again.log) == (1234, {"nano": 0.5}, "error")
    assert load_settings(None, as_environment(again)) == again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown setting 'prot'; allowed: data, database"),
        ('port = "x"', "port 'x' must be of type int"),
        ("port = 70000", "port 70000 is not allowed; 0 to 65535 is"),
        ('log = "loud"', "log 'loud' is not allowed; debug, info, warning, error are"),
        ("dead_after = 2.0", "dead_after 2.0 must be twice the heartbeat of 2.0"),
        ('models = " , "', "models names none"),
        ("[tiers.free]\nspeed = 1", "tiers.free .* has unknown fields; allowed: boost"),
        ('[tiers.free]\nper_minute = "10"', "tiers.free.per_minute '10' must be of type int"),
        ("[tiers.free]\nweight = 0", "weight 0.0 of a tier must be above 0"),
        ("port = ", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, message):
    path = tmp_path / "kineo.toml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message):
        load_settings(path, {})


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "x"), ("FETCH_URLS", "maybe"), ("PRICES", "nano=")]
)
def test_what_is_wrong_in_the_environment_is_named(name, value):
    with pytest.raises(RequestError, match=f"KINEO_{name} '{value}"):
        load_settings(None, {f"KINEO_{name}": value})


def test_secrets_are_not_printed():
    text = as_toml(Settings(secret="a" * 40, admin_token="t" * 40, database="sqlite:///p:w@x"))
    assert "aaaa" not in text
    assert "tttt" not in text
    assert "p:w" not in text


@pytest.mark.parametrize(
    ("host", "open", "is_open"),
    [("127.0.0.1", "auto", True), ("0.0.0.0", "auto", False), ("127.0.0.1", "no", False),
     ("0.0.0.0", "yes", True)],
)  # fmt: skip
def test_without_keys_is_served_who_is_here_alone(host, open, is_open):
    assert Settings(host=host, open=open).is_open() == is_open


def test_the_page_has_the_settings_of_today(root):
    script = importlib.util.spec_from_file_location("b", root / "docs" / "build_serve.py")
    build = importlib.util.module_from_spec(script)
    script.loader.exec_module(build)
    page = (root / "docs" / "serve.md").read_text(encoding="utf-8")
    assert page == build.page(page), "run `python docs/build_serve.py`"
