# The longest documents of the repository: one program instead of a call for each.
sizes = {path: len(tools.fs.read_file(path=path)) for path in tools.fs.glob(pattern="docs/**/*.md")}
longest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
return {"documents": len(sizes), "characters": sum(sizes.values()), "longest": dict(longest)}
