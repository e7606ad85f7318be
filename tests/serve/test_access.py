import base64
import math
import warnings

import jwt
import pytest
from sqlalchemy import func, select

from kineograph.serve import access
from kineograph.serve.refusals import Conflict, Forbidden, NoAccess, NotFound, Refusal
from kineograph.serve.sealing import SealBroken
from kineograph.serve.settings import MICRO, Settings
from kineograph.serve.tables import accounts, keys

NOW = 1_800_000_000.0
SETTINGS = Settings(secret="the secret of the installation")


@pytest.fixture
def account(connection):
    return access.create_account(connection, "Ada", "free", SETTINGS, NOW)["id"]


def make(connection, account, **options):
    return access.create_key(connection, account, "laptop", SETTINGS, NOW, **options)


def another(character):
    return "0" if character != "0" else "1"


def checked(token):
    """A token whose check fits whatever stands before it."""
    start = token.rpartition("_")[0]
    return f"{start}_{access._check(start)}"


# Accounts.


def test_an_account_with_credits(connection):
    row = access.create_account(connection, "Ada", "member", SETTINGS, NOW, credits=1.5)
    assert (row["tier"], row["balance"], row["disabled_at"]) == ("member", 1.5 * MICRO, None)
    assert access.get_account(connection, row["id"]) == row
    assert access.list_accounts(connection) == [row]
    with pytest.raises(NotFound):
        access.get_account(connection, "acct_none")


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "two\nlines", "nul\0"])
def test_names_within_bounds(connection, name):
    with pytest.raises(Refusal, match="1 to 200 printable"):
        access.create_account(connection, name, "free", SETTINGS, NOW)


@pytest.mark.parametrize("credits", [-1, math.nan, math.inf])
def test_credits_within_bounds(connection, credits):
    with pytest.raises(Refusal, match="0 to 1e9"):
        access.create_account(connection, "Ada", "free", SETTINGS, NOW, credits=credits)


def test_tiers_are_those_of_the_settings(connection, account):
    access.set_tier(connection, account, "member", SETTINGS)
    assert access.get_account(connection, account)["tier"] == "member"
    for call in (
        lambda: access.set_tier(connection, account, "gold", SETTINGS),
        lambda: access.create_account(connection, "Ada", "gold", SETTINGS, NOW),
    ):
        with pytest.raises(Refusal, match="'gold'; allowed: free, member, operator"):
            call()
    with pytest.raises(NotFound):
        access.set_tier(connection, "acct_none", "free", SETTINGS)


def test_the_local_account_is_made_once(connection):
    row = access.ensure_local_account(connection, NOW)
    assert access.ensure_local_account(connection, NOW + 9) == row
    assert (row["id"], row["tier"]) == ("local", "operator")
    assert connection.scalar(select(func.count()).select_from(accounts)) == 1
    who = access.without_key(row)
    assert (who.key_id, who.tier, who.seen_due) == (None, "operator", False)
    for scope in access.SCOPES:
        who.require(scope)


# Keys.


def test_a_token_is_known_by_its_shape(connection, account):
    token = make(connection, account).token
    assert access.TOKEN.fullmatch(token)
    assert access.TOKEN.search(f'api_key = "{token}"')
    assert len(token) == 6 + 12 + 1 + 40 + 1 + 7


def test_a_key_is_its_accounts(connection, account):
    key = make(connection, account, scopes=("videos:read",))
    who = access.identify(connection, key.token, NOW)
    assert (who.account_id, who.key_id, who.tier) == (account, key.id, "free")
    assert who.scopes == {"videos:read"}
    who.require("videos:read")
    with pytest.raises(Forbidden, match=r"'admin'; the key's scopes are: videos:read") as caught:
        who.require("admin")
    assert caught.value.status == 403


def test_no_secret_is_stored_listed_or_in_a_repr(connection, account):
    key = make(connection, account, signing=True)
    row = connection.execute(select(keys)).mappings().one()
    who = access.identify(connection, key.token, NOW)
    listed = access.list_keys(connection, account)
    for text in (repr(key), repr(row), repr(who), repr(listed)):
        assert key.secret not in text
    assert row["hash"] not in repr(listed)
    assert listed[0]["signing"] is True
    assert listed[0]["scopes"] == list(access.USUAL)


def test_any_slip_of_the_hand_is_told(connection, account):
    token = make(connection, account).token
    for i in range(len(token)):
        with pytest.raises(NoAccess, match="mistyped") as caught:
            access.identify(connection, token[:i] + another(token[i]) + token[i + 1 :], NOW)
        assert caught.value.status == 401
        assert token[20:30] not in str(caught.value)


@pytest.mark.parametrize(
    "token", ["", "sk-abc", "kineo_", "kineo_a_b_c", "ü" * 67, "a\0b", "\udc00"]
)
def test_what_is_no_token(connection, token):
    with pytest.raises(NoAccess, match="mistyped"):
        access.identify(connection, token, NOW)


def test_a_token_with_something_around_it_is_none(connection, account):
    token = make(connection, account).token
    for wrong in (token + "\n", " " + token, token + "0", token.upper()):
        with pytest.raises(NoAccess):
            access.identify(connection, wrong, NOW)


def test_a_wrong_secret_and_an_unknown_id_are_told_alike(connection, account):
    one, two = make(connection, account), make(connection, account)
    secret = checked(one.token[:30] + another(one.token[30]) + one.token[31:])
    id = checked(one.token[:8] + another(one.token[8]) + one.token[9:])
    swapped = checked(f"kineo_{one.id}_{two.secret}_0000000")
    told = set()
    for wrong in (secret, id, swapped):
        with pytest.raises(NoAccess) as caught:
            access.identify(connection, wrong, NOW)
        told.add(str(caught.value))
    assert told == {"the API key is not valid"}


def test_a_revoked_key_is_refused_for_good(connection, account):
    key = make(connection, account)
    for _ in range(2):
        access.revoke_key(connection, account, key.id, NOW)
    with pytest.raises(NoAccess, match="was revoked"):
        access.identify(connection, key.token, NOW)


def test_an_expired_key_is_refused(connection, account):
    key = make(connection, account, expires_at=NOW + 10)
    access.identify(connection, key.token, NOW + 9)
    with pytest.raises(NoAccess, match="expired at 2027-01-15T08:00:10"):
        access.identify(connection, key.token, NOW + 10)


def test_only_who_has_the_secret_is_told_why(connection, account):
    key = make(connection, account)
    access.revoke_key(connection, account, key.id, NOW)
    with pytest.raises(NoAccess, match="not valid"):
        access.identify(connection, checked(f"kineo_{key.id}_{'0' * 40}_0000000"), NOW)


def test_a_disabled_account_has_no_access(connection, account):
    key = make(connection, account)
    access.disable_account(connection, account, NOW)
    with pytest.raises(NoAccess, match="account of this API key is disabled"):
        access.identify(connection, key.token, NOW)
    access.disable_account(connection, account, None)
    access.identify(connection, key.token, NOW)
    with pytest.raises(NotFound):
        access.disable_account(connection, "acct_none", NOW)


@pytest.mark.parametrize("expires_at", [NOW, NOW - 1, math.inf, math.nan])
def test_a_key_ends_in_the_future(connection, account, expires_at):
    with pytest.raises(Refusal, match="a time after now"):
        make(connection, account, expires_at=expires_at)


@pytest.mark.parametrize("scopes", [(), ("videos",), ("admin", "root")])
def test_scopes_are_those_that_are_documented(connection, account, scopes):
    with pytest.raises(Refusal, match="videos:write, videos:read, account, admin"):
        make(connection, account, scopes=scopes)


def test_a_key_gives_no_more_than_it_may_itself(connection, account):
    with pytest.raises(Forbidden, match="not admin"):
        make(connection, account, scopes=("account", "admin"), within=("account",))
    strong = make(connection, account, scopes=("admin",))
    with pytest.raises(Forbidden, match="not admin"):
        access.rotate_key(connection, account, strong.id, SETTINGS, NOW, within=("account",))
    make(connection, account, scopes=("account",), within=("account", "admin"))


def test_an_account_has_so_many_keys_alive(connection, account, monkeypatch):
    monkeypatch.setattr(access, "MOST_KEYS", 2)
    one = make(connection, account)
    make(connection, account, expires_at=NOW + 1)
    with pytest.raises(Conflict, match="2 keys"):
        make(connection, account)
    access.rotate_key(connection, account, one.id, SETTINGS, NOW)
    access.create_key(connection, account, "later", SETTINGS, NOW + 1)


def test_a_rotated_key_is_like_the_one_before(connection, account):
    old = make(connection, account, scopes=("videos:read",), expires_at=NOW + 100, signing=True)
    new = access.rotate_key(connection, account, old.id, SETTINGS, NOW + 50)
    assert (new.name, new.scopes, new.expires_at) == (old.name, old.scopes, NOW + 150)
    assert access.list_keys(connection, account)[0]["signing"]
    access.identify(connection, new.token, NOW + 50)
    with pytest.raises(NoAccess, match="revoked"):
        access.identify(connection, old.token, NOW + 50)
    with pytest.raises(Conflict, match="revoked or expired"):
        access.rotate_key(connection, account, old.id, SETTINGS, NOW + 50)


def test_both_keys_are_good_for_a_while(connection, account):
    old = make(connection, account)
    access.rotate_key(connection, account, old.id, SETTINGS, NOW, overlap=60)
    access.identify(connection, old.token, NOW + 59)
    with pytest.raises(NoAccess, match="expired"):
        access.identify(connection, old.token, NOW + 60)
    with pytest.raises(Refusal, match="0 to 604800 s"):
        access.rotate_key(connection, account, old.id, SETTINGS, NOW, overlap=1e6)


def test_anothers_key_is_not_there(connection, account):
    other = access.create_account(connection, "Bob", "free", SETTINGS, NOW)["id"]
    key = make(connection, account)
    for call in (
        lambda: access.revoke_key(connection, other, key.id, NOW),
        lambda: access.rotate_key(connection, other, key.id, SETTINGS, NOW),
        lambda: access.create_key(connection, "acct_none", "x", SETTINGS, NOW),
    ):
        with pytest.raises(NotFound):
            call()
    assert access.list_keys(connection, other) == []
    access.revoke_key(connection, None, key.id, NOW)


def test_use_is_noted_once_a_minute(base):
    with base.write() as connection:
        id = access.create_account(connection, "Ada", "free", SETTINGS, NOW)["id"]
        key = make(connection, id)

    def ask(now):
        with base.read() as connection:
            who = access.identify(connection, key.token, now)
        if who.seen_due:
            with base.write() as connection:
                access.touch(connection, who.key_id, now)
        with base.read() as connection:
            return connection.scalar(select(keys.c.used_at))

    assert [ask(NOW + s) for s in (0, 1, 59, 60, 61)] == [NOW, NOW, NOW, NOW + 60, NOW + 60]


# Signed tokens.


def sign(key, secret=None, algorithm="HS256", **changes):
    claims = {"iss": key.id, "exp": NOW + 1800, "nbf": NOW - 5} | changes
    claims = {k: v for k, v in claims.items() if v is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of short keys, which some of these have
        return jwt.encode(claims, key.secret if secret is None else secret, algorithm)


def unsigned(key):
    """A token of the algorithm "none"."""
    return jwt.encode({"iss": key.id, "exp": NOW + 1800}, None, "none")


@pytest.fixture
def key(connection, account):
    return make(connection, account, signing=True)


def signed(connection, token, now=NOW, settings=SETTINGS):
    return access.identify_signed(connection, token, settings, now)


def test_a_signed_token_is_its_signers(connection, account, key):
    who = signed(connection, sign(key))
    assert (who.account_id, who.key_id) == (account, key.id)
    assert who == access.identify(connection, key.token, NOW)
    assert signed(connection, sign(key, nbf=None)).key_id == key.id


def test_times_of_a_signed_token(connection, key):
    token = sign(key, exp=NOW + 100, nbf=NOW + 50)
    for now in (NOW + 45, NOW + 104):
        signed(connection, token, now)
    with pytest.raises(NoAccess, match="not valid yet"):
        signed(connection, token, NOW + 44)
    with pytest.raises(NoAccess, match="is expired"):
        signed(connection, token, NOW + 105)
    signed(connection, sign(key, exp=NOW + 86_400))
    with pytest.raises(NoAccess, match="more than a day ahead"):
        signed(connection, sign(key, exp=NOW + 86_410))
    for wrong in (math.nan, math.inf, 10**30, "soon", True, [NOW + 60]):
        with pytest.raises(NoAccess):
            signed(connection, sign(key, exp=wrong))
        with pytest.raises(NoAccess):
            signed(connection, sign(key, nbf=wrong))


def test_signed_tokens_that_are_wrong_are_told_alike(connection, account, key):
    other, plain = make(connection, account, signing=True), make(connection, account)
    good = sign(key)
    wrong = [
        "", "a.b.c", "..", "ü.ü.ü", "\udc00.a.b", good + "x", good[:-4] + "abcd", good[:-1],
        good.rpartition(".")[0] + ".", sign(key, exp=None), sign(key, iss=None),
        sign(key, iss="nobody"), sign(key, iss="a\0b"), sign(key, secret="x"),
        sign(key, secret=other.secret), sign(plain), unsigned(key),
        sign(key, algorithm="HS512"), sign(key, iss=other.id), sign(key, aud="elsewhere"),
        "a" * 5000, sign(key, more="x" * 5000),
    ]  # fmt: skip
    told = set()
    for token in wrong:
        with pytest.raises(NoAccess) as caught:
            signed(connection, token)
        told.add(str(caught.value))
    assert told == {"the signed token is not valid"}


@pytest.mark.parametrize("text", ["[" * 2500, "[]", "5", '{"iss": {}}', '{"exp":' + "9" * 2500])
def test_hostile_json_is_refused(connection, key, text):
    part = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    head = sign(key).partition(".")[0]
    for token in (f"{head}.{part}.abcd", f"{part}.{part}.abcd"):
        with pytest.raises(NoAccess, match="signed token is not valid"):
            signed(connection, token)


def test_a_signing_key_that_is_revoked_or_of_a_disabled_account(connection, account, key):
    token = sign(key)
    access.disable_account(connection, account, NOW)
    with pytest.raises(NoAccess, match="disabled"):
        signed(connection, token)
    access.disable_account(connection, account, None)
    access.revoke_key(connection, account, key.id, NOW)
    with pytest.raises(NoAccess, match="revoked"):
        signed(connection, token)


def test_a_database_of_another_installation_is_said_to_be_one(connection, key):
    with pytest.raises(SealBroken, match="another secret") as caught:
        signed(connection, sign(key), settings=Settings(secret="of quite another installation"))
    assert key.secret not in str(caught.value)
