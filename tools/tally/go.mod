module coracle.local/tools/tally

go 1.26.0
