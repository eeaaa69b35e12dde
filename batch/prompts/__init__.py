"""What a row asks: prompts and their templates, variants, pictures, and the conversation that follows.

It reads the files that a prompt names and nothing else; it sends nothing. Doors: `variants`, `template` (for
`PromptFault`), `inserts` (for `ROW`), `conversation`, `steps` (its values), `labelled` (its samples), `judging`,
`images`, `finish_reasons` (for the words).
"""
