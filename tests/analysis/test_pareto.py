"""The Pareto front holds the choices that no other one beats."""

import numpy as np

from segformer_edu.analysis.pareto import pareto_front


def test_no_choice_of_the_front_is_beaten_and_every_other_is():
    chance = np.random.default_rng(0)
    costs, scores = chance.integers(1, 12, 60), chance.integers(1, 12, 60)  # with many ties

    def beaten(one: int) -> bool:
        as_good = (costs <= costs[one]) & (scores >= scores[one])
        return bool((as_good & ((costs < costs[one]) | (scores > scores[one]))).any())

    front = pareto_front(costs, scores)
    assert [costs[each] for each in front] == sorted({costs[each] for each in front})
    places = {(costs[each], scores[each]) for each in range(60) if not beaten(each)}
    assert {(costs[each], scores[each]) for each in front} == places
