"""Tools: functions of the job that the model may call.

Owns their schemas, the checks of a model's arguments, and where and how far the functions run. It knows neither
conversations nor providers. Doors: `registry` (`ToolSet`, `tool`), `execute` (`Executor`), `shared` (results of pure
tools), `content` (`ToolResult`), `confinement` (`Confinement`), `workers` (a trial of a tool set in a worker process),
`shipped` (tools that promptmill brings along).
"""
