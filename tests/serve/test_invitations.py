import threading

import pytest
from sqlalchemy import select

from kineograph.serve import access, invitations, ledger
from kineograph.serve.refusals import Conflict, Gone, NotFound, Refusal, Unavailable
from kineograph.serve.settings import MICRO, Settings
from kineograph.serve.tables import accounts, applications
from kineograph.serve.tables import invitations as table

NOW = 1_800_000_000.0
SETTINGS = Settings()


def invite(connection, **options):
    return invitations.create_invitation(connection, SETTINGS, NOW, **options)


def redeem(connection, code, now=NOW):
    return invitations.redeem(connection, code, "Ada", SETTINGS, now)


def test_a_code_makes_an_account_with_credits_and_a_key(connection):
    code = invite(connection, tier="member", credits=2.5)
    got = redeem(connection, code)
    who = access.identify(connection, got.key.token, NOW)
    assert who.account_id == got.account["id"]
    assert who.tier == "member"
    assert who.account["balance"] == 2.5 * MICRO
    assert ledger.audit(connection) == []
    assert ledger.entries(connection, who.account_id)[0]["note"] == "invitation"


def test_the_code_is_stored_nowhere_and_shown_in_no_repr(connection):
    code = invite(connection)
    row = connection.execute(select(table)).mappings().one()
    assert code not in repr(row)
    assert code not in repr(invitations.list_invitations(connection))
    got = redeem(connection, code)
    assert got.key.token not in repr(got)
    assert got.key.secret not in repr(got)


def test_a_code_may_be_written_in_any_way(connection):
    code = invite(connection, uses=5)
    for way in (code.upper(), f" {code}\n", code.replace("-", ""), code.replace("-", " ")):
        redeem(connection, way)
    redeem(connection, code.replace("0", "O").replace("1", "l"))


def test_a_code_that_is_used_up_expired_or_none(connection):
    once, soon = invite(connection), invite(connection, expires_at=NOW + 60)
    redeem(connection, once)
    with pytest.raises(Gone, match="used up"):
        redeem(connection, once)
    with pytest.raises(Gone, match="has expired"):
        redeem(connection, soon, NOW + 60)
    redeem(connection, soon, NOW + 59)
    with pytest.raises(NotFound) as caught:
        redeem(connection, "abcd-abcd")
    assert "abcd" not in str(caught.value)


def test_a_refused_name_costs_no_use(base):
    with base.write() as connection:
        code = invite(connection)
    with pytest.raises(Refusal, match="name"), base.write() as connection:
        invitations.redeem(connection, code, "", SETTINGS, NOW)
    with base.write() as connection:
        redeem(connection, code)


@pytest.mark.parametrize(
    "options",
    [{"tier": "gold"}, {"credits": -1}, {"credits": float("nan")}, {"uses": 0},
     {"expires_at": NOW - 1}, {"note": "x" * 2001}, {"note": "\0"}],
)  # fmt: skip
def test_invitations_within_bounds(connection, options):
    with pytest.raises(Refusal, match="allowed"):
        invite(connection, **options)


def test_a_revoked_code_is_used_up(connection):
    code = invite(connection, uses=3, credits=1)
    (listed,) = invitations.list_invitations(connection)
    assert (listed["left"], listed["credits"]) == (3, 1)
    invitations.revoke_invitation(connection, listed["id"])
    with pytest.raises(Gone):
        redeem(connection, code)
    with pytest.raises(NotFound):
        invitations.revoke_invitation(connection, "0" * 16)


@pytest.mark.parametrize("uses", [1, 3])
def test_of_many_that_race_as_many_as_may_come_in(base, another, uses):
    with base.write() as connection:
        code = invite(connection, uses=uses, credits=1)
    gate, got = threading.Barrier(8), []

    def come(i):
        gate.wait()
        try:
            with (base, another)[i % 2].write() as connection:
                got.append(redeem(connection, code).account["id"])
        except Gone:
            got.append(None)

    threads = [threading.Thread(target=come, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len([id for id in got if id]) == uses
    with base.read() as connection:
        assert len(connection.execute(select(accounts)).all()) == uses
        assert connection.scalar(select(table.c.left)) == 0


def test_who_applies_twice_is_on_the_list_once(connection):
    for contact in ("ada@example.org", " ADA@example.org", "bob@example.org"):
        assert invitations.apply(connection, contact, "please", NOW) is None
    listed = invitations.list_applications(connection)
    assert sorted(row["contact"] for row in listed) == ["ada@example.org", "bob@example.org"]
    assert "code_hash" not in listed[0]


@pytest.mark.parametrize(
    ("contact", "note"),
    [("", ""), ("ab", ""), ("a" * 321, ""), ("a\nb@c", ""), ("a@b.c", "x" * 2001)],
)
def test_applications_within_bounds(connection, contact, note):
    with pytest.raises(Refusal, match="allowed"):
        invitations.apply(connection, contact, note, NOW)


def test_a_full_list_answers_alike_too(connection, monkeypatch):
    monkeypatch.setattr(invitations, "MOST_WAITING", 1)
    invitations.apply(connection, "ada@example.org", "", NOW)
    for contact in ("ada@example.org", "bob@example.org"):
        with pytest.raises(Unavailable):
            invitations.apply(connection, contact, "", NOW)


def waiting(connection, count):
    for i in range(count):
        invitations.apply(connection, f"person{i}@example.org", "", NOW + i)
    return [row["id"] for row in invitations.list_applications(connection)]


def test_the_list_is_in_the_order_of_arrival(connection):
    ids = waiting(connection, 4)
    assert [invitations.position(connection, id) for id in ids] == [1, 2, 3, 4]
    invitations.decline(connection, ids[0], NOW)
    assert [invitations.position(connection, id) for id in ids[1:]] == [1, 2, 3]
    with pytest.raises(Conflict, match="declined"):
        invitations.position(connection, ids[0])
    with pytest.raises(NotFound):
        invitations.position(connection, "app_none")


def test_the_next_are_admitted_with_a_code_each(connection):
    ids = waiting(connection, 3)
    admitted = invitations.admit(connection, 2, SETTINGS, NOW, tier="member")
    assert [one.application_id for one in admitted] == ids[:2]
    assert all(one.code not in repr(admitted) for one in admitted)
    for one in admitted:
        got = redeem(connection, one.code)
        assert got.account["tier"] == "member"
        assert got.account["id"] != one.application_id
        assert access.get_account(connection, got.account["id"])["balance"] == 100 * MICRO
        with pytest.raises(Gone):
            redeem(connection, one.code)
    assert [a.contact for a in invitations.admit(connection, 9, SETTINGS, NOW)] == [
        "person2@example.org"
    ]
    assert invitations.admit(connection, 9, SETTINGS, NOW) == []
    states = connection.execute(select(applications.c.state, applications.c.code_hash)).all()
    assert {state for state, _ in states} == {"admitted"}
    assert None not in {hash for _, hash in states}


def test_some_are_admitted_by_id(connection):
    ids = waiting(connection, 3)
    (one,) = invitations.admit(connection, ids[2], SETTINGS, NOW, credits=0)
    assert redeem(connection, one.code).account["balance"] == 0
    with pytest.raises(Conflict, match="admitted already"):
        invitations.admit(connection, [ids[2]], SETTINGS, NOW)
    with pytest.raises(NotFound):
        invitations.admit(connection, ["app_none"], SETTINGS, NOW)
    assert len(invitations.admit(connection, ids[:2] * 2, SETTINGS, NOW)) == 2


def test_who_was_declined_stays_so_and_is_told_the_same(connection):
    (id,) = waiting(connection, 1)
    invitations.decline(connection, id, NOW)
    assert invitations.apply(connection, "person0@example.org", "again", NOW) is None
    assert invitations.list_applications(connection) == []
    (row,) = invitations.list_applications(connection, state=None)
    assert (row["state"], row["note"]) == ("declined", "")
    with pytest.raises(Conflict):
        invitations.decline(connection, id, NOW)
