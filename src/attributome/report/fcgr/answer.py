"""The answer in two sentences, and what speaks against believing it."""

from math import isfinite

from attributome.report.fcgr.evaluation import counted, known, order
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.words import METRICS, TRIVIAL, predictor
from attributome.report.numbers import num, number, plural, span

UNSEEN = {
    "mirna": "miRNAs that it has not seen",
    "family": "miRNA families that it has not seen",
    "site": "sites that it has not seen",
}


def question(facts: FcgrFacts) -> str:
    """What was asked."""
    source = (facts.job.get("data") or {}).get("source")
    pairs = (facts.audit.get("counts") or {}).get("rows") or facts.asked.get("data", {}).get("rows")
    told = f" Pairs: {source}" if source else ""
    if told and pairs:
        told += f" ({plural(int(pairs), 'row')})"
    words = f" Words of k = {facts.k} letters." if facts.k else ""
    asked = "Which miRNA binds which site, and which letters does the network go by?"
    return asked + (f"{told}." if told else "") + words


def answer(facts: FcgrFacts) -> list[str]:
    """How good the network is, and what trivial predictors reach; empty while nobody knows."""
    lead = next(iter(_networks(facts)), "")
    if not lead:
        return []
    auc = number(facts.score(lead, "auc").get("value"))
    if not isfinite(auc):
        n = counted(facts, lead, "auc") or "these pairs"
        return [f"The AUC of the network is undefined for {n}: they all have one label."]
    sentences = [f"On {_unseen(facts)}, the network reaches {_scores(facts, lead)}."]
    if beside := _beside(facts):
        sentences.append(beside)
    return sentences


def doubts(facts: FcgrFacts) -> list[dict[str, str]]:
    """The best trivial predictor, where the network is not surely better than it."""
    lead = next(iter(_networks(facts)), "")
    trivial = [n for n in order(facts) if n in TRIVIAL and known(facts, n, "auc") >= 0]
    if not lead or not trivial or known(facts, lead, "auc") < 0:
        return []
    best = trivial[0]
    rows = [
        row
        for row in facts.evaluation.get("comparisons") or []
        if (str(row["a"]), str(row["b"]), row["metric"]) == (lead, best, "auc")
    ]
    gain = known(facts, lead, "auc") - known(facts, best, "auc")
    low = number(rows[0].get("low")) if rows else float("nan")
    if gain > 0 and (low > 0 or not isfinite(low)):
        return []
    ends = f" ({span(low, number(rows[0].get('high')))})" if isfinite(low) else ""
    name = predictor(best)[0]
    words = (
        f"Its AUC minus that of {name} is {num(gain)}{ends}. What it goes by need not be what "
        f"makes a miRNA bind."
    )
    surely = "surely " if gain > 0 else ""
    return [{"title": f"The network is not {surely}better than {name}", "words": words}]


def cards(facts: FcgrFacts) -> list[tuple[str, str, str]]:
    """Key numbers: the number, what it is, and a remark."""
    found = []
    lead = next(iter(_networks(facts)), "")
    for metric in ("auc", "ap"):
        row = facts.score(lead, metric)
        if isfinite(number(row.get("value"))):
            ends = span(number(row.get("low")), number(row.get("high")))
            remark = f"95 % interval {ends}" if ends else ""
            found.append((num(number(row["value"])), f"{METRICS[metric]}, network", remark))
    best = next((name for name in order(facts) if name in TRIVIAL), "")
    if best and known(facts, best, "auc") >= 0:
        found.append((num(known(facts, best, "auc")), "AUC, best without", predictor(best)[0]))
    if len(facts.explained):
        mirnas = plural(facts.explained["mirna"].nunique(), "miRNA")
        found.append((str(len(facts.explained)), "pairs explained", mirnas))
    return found


def _networks(facts: FcgrFacts) -> list[str]:
    return [name for name in order(facts) if name not in TRIVIAL]


def _unseen(facts: FcgrFacts) -> str:
    how = str((facts.job.get("data") or {}).get("split") or "")
    part = str(facts.evaluation.get("part") or "test")
    if part != "test":
        return f"the pairs of the part “{part}”"
    return UNSEEN.get(how, "held-out pairs, whose miRNAs it may know from training")


def _scores(facts: FcgrFacts, name: str) -> str:
    told = []
    for metric in ("auc", "ap"):
        row = facts.score(name, metric)
        value = number(row.get("value"))
        if isfinite(value):
            ends = span(number(row.get("low")), number(row.get("high")))
            interval = f" (95 % interval {ends})" if ends else ""
            called = METRICS[metric] if metric == "auc" else f"an {METRICS[metric]} of"
            told.append(f"{called} {num(value)}{interval}")
    n = counted(facts, name, "auc")
    return " and ".join(told) + (f", n = {n}" if n else "")


def _beside(facts: FcgrFacts) -> str:
    trivial = [n for n in order(facts) if n in TRIVIAL and known(facts, n, "auc") >= 0]
    if not trivial:
        return ""
    told = [f"{predictor(name)[0]} AUC {num(known(facts, name, 'auc'))}" for name in trivial]
    more = f"; {', '.join(told[1:])}" if told[1:] else ""
    return f"Without a network the best is {told[0]}{more}."
