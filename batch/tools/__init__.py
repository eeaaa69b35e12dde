"""Functions of the job that the model may call: their schema, the checks of arguments, and how they are run.

It knows neither conversations nor providers. Doors: `registry` (`ToolSet`, `tool`), `execute` (`Executor`).
"""
