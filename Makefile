# Every target calls `./run` with its name. `make demo ONCE=1` ends after the last step.
TARGETS := demo test acceptance lint bench storm faults pages mutants differential docs package up down clean lock test-all test-matrix

.PHONY: help $(TARGETS)

help:
	@./run --help

$(TARGETS):
	@./run $@ $(ARGS) $(if $(filter demo,$@),$(if $(ONCE),--once))
