"""Shapley and Owen values by their definition: the mean over orders of joining.

`game` takes a set of players and gives one number.
"""

from itertools import combinations, permutations
from math import factorial

import numpy as np


def shapley(game, n):
    """The mean over what may come before a player, by the share of orders in which it does."""
    phi = np.zeros(n)
    for player in range(n):
        others = [p for p in range(n) if p != player]
        for size in range(n):
            share = factorial(size) * factorial(n - size - 1) / factorial(n)
            for before in combinations(others, size):
                phi[player] += share * (game({*before, player}) - game(set(before)))
    return phi


def shapley_by_orders(game, n):
    return _mean_over(game, n, list(permutations(range(n))))


def owen(game, depth):
    """Over the orders in which the leaves of every node of the binary tree stand together."""
    return _mean_over(game, 2**depth, list(_orders(0, 2**depth)))


def _orders(first, count):
    if count == 1:
        yield (first,)
        return
    half = count // 2
    for left in _orders(first, half):
        for right in _orders(first + half, half):
            yield left + right
            yield right + left


def _mean_over(game, n, orders):
    phi = np.zeros(n)
    for order in orders:
        for place, player in enumerate(order):
            before = set(order[:place])
            phi[player] += game(before | {player}) - game(before)
    return phi / len(orders)
