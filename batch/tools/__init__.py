"""Tools: functions of the job that the model may call.

Owns their schemas, the checks of a model's arguments, and how the functions are run. It knows neither conversations nor
providers. Doors: `registry` (`ToolSet`, `tool`), `execute` (`Executor`), `shared` (results of pure tools).
"""
