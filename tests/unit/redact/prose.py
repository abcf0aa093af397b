# ruff: noqa: E501 — lists of words
"""Text without personal data, made from word lists and a seed: the same in every run.

Sentences of a small grammar with what ordinary prose has and what looks like data: years, prices,
times, versions, chapters, ISBN-like and order numbers, measurements, acronyms, capitalised names of
things.
"""

from __future__ import annotations

import random

_SUBJECTS = """the committee|a small company|the new report|our neighbour|the old library|most readers|the engine|the river
|a group of students|the second chapter|the museum|every gardener|the weather service|the train from the north|the orchestra
|the Ministry of Transport|the Northern Railway|a retired teacher|the harbour|this proposal"""
_VERBS = """described|changed|measured|opened|rejected|explained|rebuilt|followed|compared|preferred|remembered|sold|repaired
|announced|collected|questioned|crossed|painted|postponed|supported"""
_OBJECTS = """the results of the survey|a long discussion about prices|the bridge over the valley|several kinds of apples
|an unusual method|the history of the town|its own rules|the first version of the plan|a quiet afternoon|the price of bread
|the road to the coast|the main street|the patient work of many hands|a simple question|the address of the meeting hall
|the name of the ship|an account of the journey|the phone network|the insurance business|the bank of the river"""
_ENDS = """in {year}|at {hour}:{minute}|for {price} dollars|within {small} days|on page {page}|after {small} years of work
|with {percent} percent of the votes|in version {small}.{small2}.{small3}|in order number {order}|under section {small}.{small2}
|at {degrees} degrees|over {distance} kilometres|between {year} and {year2}|on {day} May {year}|with {price} copies
|according to RFC {page}|by about {percent}.{small} %|in chapter {small}|near Lake Superior|during the winter|without any doubt
|in the summer of {year}|and {order} people agreed|at a scale of 1:{order}|from {day}/{small}/{year} onwards"""


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", "").split("|")]


def prose(characters: int, seed: int = 1) -> str:
    """About ``characters`` of it."""
    random_ = random.Random(seed)
    subjects, verbs, objects, ends = map(_words, (_SUBJECTS, _VERBS, _OBJECTS, _ENDS))
    lines: list[str] = []
    size = 0
    while size < characters:
        numbers = {
            "year": random_.randint(1500, 2030),
            "year2": random_.randint(1500, 2030),
            "hour": random_.randint(0, 23),
            "minute": f"{random_.randint(0, 59):02d}",
            "price": f"{random_.randint(1, 9)},{random_.randint(0, 999):03d}",
            "small": random_.randint(1, 12),
            "small2": random_.randint(0, 12),
            "small3": random_.randint(0, 40),
            "page": random_.randint(1, 9000),
            "percent": random_.randint(1, 99),
            "order": random_.randint(10_000, 9_999_999),
            "degrees": random_.randint(1, 40),
            "distance": random_.randint(2, 900),
            "day": random_.randint(1, 28),
        }
        subject = random_.choice(subjects)
        end = random_.choice(ends).format(**numbers)
        sentence = f"{subject[0].upper()}{subject[1:]} {random_.choice(verbs)} {random_.choice(objects)} {end}. "
        lines.append(sentence + ("\n\n" if random_.random() < 0.1 else ""))
        size += len(lines[-1])
    return "".join(lines)
