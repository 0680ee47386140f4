"""Reasons not to believe the answer, looked for in the run's own numbers and said first."""

from dataclasses import dataclass

from attributome.report.evidence import on_background
from attributome.report.facts import Facts
from attributome.report.looks import in_order, look, the
from attributome.report.methods import GROSS, sums
from attributome.report.numbers import listing, num, plural, share
from attributome.report.words import measure

CLOSE = 0.01  # medians nearer than this are level
OFTEN = 0.25  # a control that is as good in this share of the fields is no weaker
FEW = 5
RULE = (
    "A control is named here when, on the same fields and with the same area, the median of its "
    "differences from the mask is above −0.01, or when it does as well as the mask or better in a "
    "quarter of the fields or more."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """A control of the same area against the mask, field by field."""

    control: str
    fields: int
    mask: float
    other: float
    difference: float
    as_good: int

    @property
    def lost(self) -> bool:
        """Whether the mask does clearly worse."""
        return self.difference >= CLOSE or self.as_good > self.fields / 2

    @property
    def level(self) -> bool:
        """Whether the control is about as good as the mask, or better."""
        return self.difference > -CLOSE or self.as_good >= OFTEN * self.fields

    @property
    def words(self) -> str:
        """The duel in a sentence."""
        return (
            f"{look(self.control).label}: median {num(self.other)} against {num(self.mask)} of "
            f"the mask; as good or better in {self.as_good} of {plural(self.fields, 'field')} "
            f"(median difference {self.difference:+.3f})".replace("-0", "−0")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A title, why, and each piece of evidence."""

    title: str
    why: str
    evidence: list[str]


def duels(facts: Facts) -> list[Duel]:
    """The mask against every control, paired by field."""
    table, lead = facts.efficacies("signature", "control"), facts.lead
    if lead not in table:
        return []
    found = []
    for control in in_order([str(name) for name in table.columns if name != lead]):
        pair = table[[lead, control]].dropna()
        if pair.empty:
            continue
        difference = pair[control] - pair[lead]
        found.append(
            Duel(
                control=control,
                fields=len(pair),
                mask=float(pair[lead].median()),
                other=float(pair[control].median()),
                difference=float(difference.median()),
                as_good=int((difference >= 0).sum()),
            )
        )
    return found


def doubts(facts: Facts) -> list[Doubt]:
    """Every doubt that the numbers raise, the gravest first."""
    found = [_controls(facts), _area(facts), _floor(facts), _size(facts), _decoy(facts)]
    found += [_background(facts), _predictor(facts), _sums(facts), _few(facts)]
    return [doubt for doubt in found if doubt]


def _controls(facts: Facts) -> Doubt | None:
    level = [duel for duel in duels(facts) if duel.level]
    if not level:
        return None
    names = " and ".join(look(duel.control).label for duel in level)
    lost = any(duel.lost for duel in level)
    word = "does better than" if lost else "does about as well as"
    title = (
        f"{names[0].upper()}{names[1:]} {word if len(level) == 1 else word.replace('does', 'do')}"
    )
    return Doubt(
        title=f"{title} {the(facts.lead)}",
        why="At this area the mask does not show that this network looks at anything more special "
        "than what that control picks. Its efficacy alone is no evidence. " + RULE,
        evidence=[duel.words for duel in level],
    )


def _area(facts: Facts) -> Doubt | None:
    ratio = facts.summary.get("area_ratio_to_intensity")
    if ratio is None or ratio < 1:
        return None
    return Doubt(
        title="The brightest contrast needs no more area than the mask",
        why="A threshold on the image, without any learning, keeps the prediction as cheaply.",
        evidence=[f"learned mask / brightest contrast, smallest area: {num(ratio)}"],
    )


def _floor(facts: Facts) -> Doubt | None:
    efficacy, floor = facts.summary.get("efficacy_median"), facts.floor
    if efficacy is None or floor is None or efficacy >= floor:
        return None
    name = measure(facts)
    return Doubt(
        title="The mask does not keep the prediction",
        why="More than it keeps is needed, so this mask is not the whole of what the network uses.",
        evidence=[f"median {name} {num(efficacy)}; asked for {num(floor)}"],
    )


def _size(facts: Facts) -> Doubt | None:
    scores, kept = facts.tables["scores"], facts.summary.get("mask_size_median")
    mine = scores[scores["method"] == facts.lead] if not scores.empty else scores
    empty = int((mine["mask_size"] == 0).sum()) if not mine.empty else 0
    if empty:
        return Doubt(
            title=f"The mask is empty in {plural(empty, 'field')}",
            why="Nothing was found there that this network needs; such a field has no explanation.",
            evidence=[f"{empty} of {plural(len(mine), 'field')} with mask size 0"],
        )
    if kept is None or kept <= 0.6:
        return None
    return Doubt(
        title="The mask keeps most of the field",
        why="A mask that keeps nearly everything says little about what the network uses.",
        evidence=[f"median mask size {share(kept)}"],
    )


def _decoy(facts: Facts) -> Doubt | None:
    ratio = facts.summary.get("decoy_ratio")
    if ratio is None or ratio <= 1 / 3:
        return None
    return Doubt(
        title="The mask falls for the decoy",
        why="The decoy looks related to the target and has no effect on it; it should stay dark.",
        evidence=[f"importance of the decoy / of the true region: {num(ratio)}; at most 0.33"],
    )


def _predictor(facts: Facts) -> Doubt | None:
    pcc = facts.summary.get("predictor_pcc")
    if pcc is None or pcc >= 0.6:
        return None
    return Doubt(
        title="The network itself predicts poorly",
        why="What a poor network uses says little about the biology behind the target.",
        evidence=[f"PCC of the prediction with the real target: {num(pcc)}"],
    )


def _background(facts: Facts) -> Doubt | None:
    found = on_background(facts)
    if not found:
        return None
    worst = max(found, key=lambda part: part.share)
    much = "Most of the evidence" if worst.share > 0.5 else "More of the evidence than its share"
    return Doubt(
        title=f"{much} of {the(facts.lead)} lies on the {worst.region}",
        why="A network that reads the surroundings may have learned the plate, the illumination "
        "or the batch instead of the cells.",
        evidence=[
            f"{share(part.share)} of the positive evidence (median over "
            f"{plural(part.fields, 'field')}) on the {part.region}, which covers "
            f"{share(part.area)} of the field"
            for part in found
        ],
    )


def _sums(facts: Facts) -> Doubt | None:
    found = {key: each for key, each in sums(facts).items() if each.median > GROSS}
    if not found:
        return None
    names = listing([look(key).label for key in found])
    verb = "does" if len(found) == 1 else "do"
    return Doubt(
        title=f"{names[0].upper()}{names[1:]} {verb} not add up",
        why="The values of such a map should sum to the change of the output from its baseline. "
        "Where they are more than 10 % off, something of this network is not explained by it.",
        evidence=[f"{look(key).label}: {each.mark.words}" for key, each in found.items()],
    )


def _few(facts: Facts) -> Doubt | None:
    fields = len(facts.efficacies("signature"))
    if fields == 0 or fields >= FEW:
        return None
    return Doubt(
        title=f"Only {plural(fields, 'test field')}",
        why="So few fields show what can happen, not how often; an interval from them is a hint.",
        evidence=[f"n = {fields}"],
    )
