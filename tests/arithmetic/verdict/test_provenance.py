from arithmetic import Dossier, Known
from arithmetic.verdict.provenance import provenance_findings


def found(known: Known) -> list[tuple[str, str, str, str]]:
    return [(one.code, one.severity, one.sentence, one.remedy) for one in provenance_findings(known)]


def test_vectors_of_two_prediction_types_are_an_error() -> None:
    known = Known((Dossier("a", prediction_type="epsilon"), Dossier("b", prediction_type="v_prediction")))
    assert found(known) == [
        (
            "prediction-type",
            "error",
            "a predicts epsilon, b predicts v_prediction.",
            "Sum vectors, and take a base, of one prediction type.",
        )
    ]


def test_a_base_of_another_prediction_type_is_an_error_too() -> None:
    vectors = (Dossier("a", prediction_type="epsilon"), Dossier("b", prediction_type="epsilon"))
    ((_, severity, sentence, _),) = found(Known(vectors, base=Dossier("base:1", prediction_type="v_prediction")))
    assert (severity, sentence) == ("error", "a and b predict epsilon, base:1 predicts v_prediction.")


def test_a_prediction_type_that_is_guessed_by_the_family_is_a_warning() -> None:
    guess = Dossier("a", prediction_type="epsilon", prediction_confidence=0.8)
    ((_, severity, sentence, _),) = found(Known((guess,), base=Dossier("v:1", prediction_type="v_prediction")))
    assert (severity, sentence) == (
        "warning",
        "a predicts epsilon, v:1 predicts v_prediction (by their family alone).",
    )


def test_one_prediction_type_and_unknown_ones_are_no_conflict() -> None:
    assert found(Known((Dossier("a", prediction_type="epsilon"), Dossier("b")))) == []


def test_a_licence_conflict_is_a_warning_with_its_reason() -> None:
    known = Known(license_conflicts=("a:1 (cc-by-nd-4.0) allows no derivatives, and their sum is one",))
    assert found(known) == [
        (
            "licence-conflict",
            "warning",
            "a:1 (cc-by-nd-4.0) allows no derivatives, and their sum is one.",
            "Keep the result to yourself, or leave the vector out; publishing asks for a reason.",
        )
    ]


def test_two_vectors_that_answer_to_one_word_clash_however_it_is_spelled() -> None:
    known = Known((Dossier("a", trigger_words=("Paper  Cut", "red")), Dossier("b", trigger_words=("paper cut",))))
    assert found(known) == [
        (
            "trigger-clash",
            "warning",
            "a and b both answer to 'Paper  Cut'.",
            "One prompt brings them out together: weigh them by their strengths, not by words.",
        )
    ]


def test_a_vector_that_stands_twice_does_not_clash_with_itself() -> None:
    dossier = Dossier("a", trigger_words=("red", "RED", " "))
    assert found(Known((dossier, dossier))) == []
