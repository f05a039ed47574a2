"""Tuning: which hyperparameters make an agent learn everything that it should, and quickly.

objective   what a point is worth: `scenarios` lets a simulated population live with the agent, `offline` asks the logs
space       the hyperparameters, their ranges and priors
search      who proposes points and evaluates them: hyperopt here, or on a cluster (`on_spark`)
hopeless    trials that need not be finished
importance  how much of a score each hyperparameter explains
"""
