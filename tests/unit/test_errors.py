"""The hints of errors name the account they are about."""

from __future__ import annotations

from collections.abc import Iterator

from ebaysync.errors import AnswerNotUnderstood, EbaysyncError, ScopeMissing, SigningKeyMissing


def kinds(kind: type[EbaysyncError] = EbaysyncError) -> Iterator[type[EbaysyncError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def test_a_hint_gets_the_account_and_its_environment() -> None:
    error = ScopeMissing("x")
    error.about("'two words'", "sandbox")
    assert error.hint == "let the seller consent to it: ebaysync accounts connect 'two words' --environment sandbox"
    key = SigningKeyMissing("x")
    key.about("shop", "production")
    assert str(key.hint).endswith("ebaysync keys signing create --environment production")
    other = EbaysyncError("x", hint="set EBAYSYNC_NAME")
    other.about("shop", "production")
    assert other.hint == "set EBAYSYNC_NAME"


def test_no_hint_names_a_command_without_its_account_or_environment() -> None:
    for kind in kinds():
        hint = kind.hint or ""
        assert ("accounts connect" in hint) <= ("NAME --environment ENVIRONMENT" in hint), kind
        assert ("signing create" in hint) <= ("--environment ENVIRONMENT" in hint), kind
        assert "README" not in hint


def test_an_answer_that_is_not_understood_says_nothing_of_a_cursor() -> None:
    assert "cursor" not in str(AnswerNotUnderstood("x").hint)
