"""What bounds on templates cost: ordinary templates filled in with them and without them, in one run.

    python -m benchmarks.templates

Prints how many templates a millisecond fills in, unbounded (Jinja alone) and bounded, and the ratio of the two times.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from vibe_prefect.templates.filling import fill_in
from vibe_prefect.templates.language import render
from vibe_prefect.templates.weight import is_light

ROUNDS = 5
TIMES = 500

VALUES: dict[str, Any] = {
    "outputs": {
        "digest": {"text": "word " * 400, "notes": [{"title": f"title {number}"} for number in range(20)]},
        "blog-post": {"text": "word " * 600},
    },
    "vibe": {"style": "plain"},
    "node_id": "post",
}
TEMPLATES = {
    "a value": "{{ outputs.digest.text }}",
    "a text": "Write {{ node_id }} in a {{ vibe.style }} style:\n\n{{ outputs['blog-post'].text | trim }}",
    "a condition": "{% if outputs.digest.notes | length > 3 %}long{% else %}short{% endif %}",
    "a loop": "{% for note in outputs.digest.notes %}- {{ note.title }}\n{% endfor %}",
    "a chain": "{{ outputs.digest.notes | map(attribute='title') | join(', ') }}",
    "a cut": "{{ outputs.digest.text | truncate(100) }}",
}


def main() -> None:
    print(f"{'templates a ms':<14} {'unbounded':>10} {'bounded':>10} {'ratio':>6}  where")
    asyncio.run(measure())


async def measure() -> None:
    for name, text in TEMPLATES.items():
        await fill_in(text, VALUES)
        plain: list[float] = []
        bounded: list[float] = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for _ in range(TIMES):
                render(text, VALUES)
            between = time.perf_counter()
            for _ in range(TIMES):
                await fill_in(text, VALUES)
            plain.append(between - begun)
            bounded.append(time.perf_counter() - between)
        without, within = (1000 * statistics.median(times) / TIMES for times in (plain, bounded))
        where = "here" if is_light(text, VALUES) else "helper"
        print(f"{name:<14} {1 / without:>10.1f} {1 / within:>10.1f} {within / without:>6.2f}  {where}")


if __name__ == "__main__":
    main()
