"""Prices of tokens: the operator's own, or those that `genai-prices` brings along."""

from __future__ import annotations

from vibe_prefect.llm.provider.model_config import ModelConfig, Prices, provider_of

PER = 1_000_000
"""Tokens that a price is for."""


def cost_usd(
    config: ModelConfig, model: str, input_tokens: int, output_tokens: int, cached_tokens: int = 0
) -> float | None:
    """Return what tokens cost in US dollars; `None` where nobody knows.

    A model of this machine costs nothing unless the operator says so. A provider at another address than its own has
    prices of its own: only those that the operator sets are used, for cached tokens as for others.

    Args:
        config: The operator's configuration.
        model: The model that was asked.
        input_tokens: Tokens read, the cached ones among them.
        output_tokens: Tokens written.
        cached_tokens: Tokens read from the provider's cache; cheaper where the public list says so.
    """
    if config.prices is not None and config.is_own(model):
        return _at(config.prices, input_tokens, output_tokens)
    if config.local_model(model) is not None:
        return 0.0
    if config.base_url is not None and config.is_own(model):
        return None
    return _listed(model, input_tokens, output_tokens, cached_tokens)


def _at(prices: Prices, input_tokens: int, output_tokens: int) -> float:
    return (prices.input * input_tokens + prices.output * output_tokens) / PER


def _listed(model: str, input_tokens: int, output_tokens: int, cached_tokens: int) -> float | None:
    from genai_prices import Usage, calc_price

    name = model.partition(":")[2]
    try:
        cached = {"cache_read_tokens": cached_tokens} if cached_tokens else {}
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, **cached)
        return float(calc_price(usage, name, provider_id=provider_of(model)).total_price)
    except LookupError:
        return None
