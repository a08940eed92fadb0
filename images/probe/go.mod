module coracle.local/images/probe

go 1.26.0
