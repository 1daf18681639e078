"""Open-loop benchmarks of Lanecast and of other servers that push to browsers, on one machine, in one run.

Runs from a checkout only: `lanecast bench` and `python -m bench` are the same commands. Nothing here is imported by
the services. `scenario`, `schedule`, `mark`, `websocket`, `accounting`, `figures`, `search` and `tables` are pure;
`generator` and `receiver` are the load processes; `systems` holds one adapter per server; `run` and `suite` put it
together. Run by hand as modules: `agreement` (with `witness`), `durability`, `growth`, `jetstream`, `page`, `rollout`.
"""
