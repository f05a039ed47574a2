"""Shipped applications, each with a simulated world of known best return."""

SHIPPED = {
    "cartpole": "rlbake.scenarios.cartpole:CartPole",
    "message_timing": "rlbake.scenarios.message_timing:MessageTiming",
    "offer_price": "rlbake.scenarios.offer_price:OfferPrice",
    "bundle": "rlbake.scenarios.bundle:Bundle",
    "level_difficulty": "rlbake.scenarios.level_difficulty:LevelDifficulty",
    "sparse_reward": "rlbake.scenarios.sparse_reward:SparseReward",
    "drift": "rlbake.scenarios.drift:Drift",
}
"""What to give as `application`, by the scenario's name."""
