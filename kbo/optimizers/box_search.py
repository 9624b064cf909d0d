"""Quasi-Newton steps in a box: direction, line search, and the pairs they are made from."""

from __future__ import annotations

from collections import deque

import numpy as np

from .base import TIGHTER

DECREASE, CURVATURE = 1e-4, 0.9  # constants of the weak Wolfe conditions
TRIALS = 30  # in a line search, at most
MISSES = 4  # of them after which a loose tolerance may be the cause
WIDER = 4.0  # factor of a step that is too short
NARROWEST, NARROW = 0.1, 0.5  # bounds of the factor of a step that is too long
POSITIVE = 1e-10  # pairs with sᵀy below this share of |s||y| are dropped as rounding
ROUNDING = 10 * np.finfo(float).eps
AGAIN = object()


class BoxSearch:
    """L-BFGS steps on f = L or f = log L, in the coordinates that are not held at a bound.

    Attributes
    ----------
    evaluate : callable
        ω ↦ (L, ∇L). It may be replaced between two searches: ``begin`` then evaluates again, and
        the pairs are kept.
    point, value, grad : ndarray, float, ndarray
        ω, L and ∇L.
    pairs : deque of (ndarray, ndarray)
        The last steps and changes of ∇f.
    """

    def __init__(self, evaluate, log, lower, upper, memory):
        self.evaluate, self._log = evaluate, log
        self.lower, self.upper = lower, upper
        self.pairs = deque(maxlen=memory)
        self.blocked = False  # whether the last line search met a point without a finite value

    def begin(self, point) -> bool:
        """Evaluate at a point, and return whether L is finite there."""
        self.point = point
        self.value, self.grad = self.evaluate(point)
        self._least = 1e-30 * (abs(self.value) or 1.0)
        return bool(np.isfinite(self.value))

    def tighten(self, factor) -> bool:
        """Evaluate here again, to ``factor`` times the tolerance; False if it is tightest already.
        """
        found = self.evaluate(self.point, tighten=factor)
        if found is None or not np.isfinite(found[0]):
            return False
        self.value, self.grad = found
        return True

    @property
    def slope(self):
        """∇f."""
        return self._plain(self.value, self.grad)[1]

    def _plain(self, value, grad):
        """f and ∇f."""
        if not self._log or not np.isfinite(value):
            return value, grad
        positive = max(value, self._least)
        return np.log(positive), grad / positive

    def promise(self) -> float:
        """The decrease of f that the quadratic model predicts."""
        return -0.5 * self.slope @ self._direction()

    def _direction(self):
        """−B⁻¹∇f in the free coordinates, or −∇f/‖∇f‖ where the pairs give no descent direction."""
        slope = self.slope
        held = ((self.point <= self.lower) & (slope > 0)) | (
            (self.point >= self.upper) & (slope < 0)
        )
        free = np.where(held, 0.0, slope)
        times = self._inverse_times(free, ~held)
        if times is not None and times @ free > 0:
            return -times
        return -free / (np.linalg.norm(free) or 1.0)

    def _inverse_times(self, vector, free):
        """L-BFGS's two-loop recursion on the free parts of the pairs; None if none has curvature.

        linalg.lbfgs has the compiled recursion, on whole pairs.
        """
        kept = []
        for step, change in self.pairs:
            s, y = step * free, change * free
            product = s @ y
            if product > POSITIVE * np.linalg.norm(s) * np.linalg.norm(y):
                kept.append((s, y, product))
        if not kept:
            return None
        shares = []
        for s, y, product in reversed(kept):
            shares.append(s @ vector / product)
            vector = vector - shares[-1] * y
        _, y, product = kept[-1]
        vector = vector * (product / (y @ y))
        for (s, y, product), share in zip(kept, reversed(shares), strict=True):
            vector = vector + (share - y @ vector / product) * s
        return vector

    def step(self):
        """Make one step; return the decrease of L, or None if no lower point was found."""
        while True:
            f, slope = self._plain(self.value, self.grad)
            found = self._line(self._direction(), f, slope)
            if found is None:
                return None
            if found is not AGAIN:
                break
        point, value, grad = found
        s, y = point - self.point, self._plain(value, grad)[1] - slope
        if s @ y > POSITIVE * np.linalg.norm(s) * np.linalg.norm(y):
            self.pairs.append((s, y))
        drop = self.value - value
        self.point, self.value, self.grad = point, value, grad
        return drop

    def _line(self, direction, f, slope):
        """The lowest point of a line search along ω + t·direction, projected onto the box.

        t grows while f still falls almost as steeply as at the start (Wolfe's second condition),
        and shrinks while f has not fallen enough (the first condition) or is not finite. AGAIN
        means that f at ω was computed anew, to a tighter tolerance.
        """
        t, narrowed, best, misses = 1.0, False, None, 0
        self.blocked = False
        for _ in range(TRIALS):
            target = self.point + t * direction
            point = np.clip(target, self.lower, self.upper)
            move = point - self.point
            at_start = slope @ move
            if not at_start < 0:  # once projected onto the box, the move is not a descent
                t, narrowed = NARROW * t, True
                continue
            value, grad = self.evaluate(point)
            self.blocked |= not np.isfinite(value)
            there, new_slope = self._plain(value, grad)
            at_end = new_slope @ move if np.isfinite(there) else np.inf
            fell = there <= f + DECREASE * at_start
            # Where f changes by rounding only, the slopes still say whether it falls.
            level = there <= f + ROUNDING * abs(f) and abs(at_end) <= CURVATURE * abs(at_start)
            if not (fell or level):
                if best is not None:
                    return best
                misses += 1
                if misses % MISSES == 0 and np.isfinite(there) and self.tighten(TIGHTER):
                    return AGAIN
                t, narrowed = t * _shrunk(f, at_start, there, at_end), True
                continue
            if best is None or value < best[1]:
                best = point, value, grad
            moving = ((target == point) & (direction != 0)).any()  # not yet held at a corner
            steep = at_end < CURVATURE * at_start and moving
            if narrowed or not steep:
                return best
            t = WIDER * t
        return best


def _shrunk(f, at_start, there, at_end):
    """The factor of the step that minimises the cubic interpolant, within bounds."""
    if not np.isfinite(there):
        return NARROWEST
    a = at_start + at_end - 2 * (there - f)
    b = 3 * (there - f) - 2 * at_start - at_end
    if abs(a) < 1e-12 * (abs(b) + abs(at_start)):
        share = -at_start / (2 * b) if b > 0 else NARROW
    else:
        root = b * b - 3 * a * at_start
        share = (-b + np.sqrt(root)) / (3 * a) if root >= 0 else NARROW
    return float(np.clip(share, NARROWEST, NARROW))
