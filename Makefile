# `make demo` and `make test` are the two commands to know; each does all of its own set-up:
# build tools into .tools, models into a cache folder outside git, the release build.
# Everything builds the whole workspace in the one release profile: then build, test and clippy share
# the engine's C++. `cargo build --release -p …` gives its build script other features and compiles it again.

.NOTPARALLEL:
.PHONY: help demo test build tools models fmt lint bench bench-formats bench-quantize bench-sweep replay-race classic fuzz bench-census lineage-matrix real-models clean

MODELS := $(or $(ASSAY_MODELS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/assay/models)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
TARGET := $(or $(CARGO_TARGET_DIR),target)
SMOLLM2 := $(MODELS)/SmolLM2-135M-Instruct.Q4_1.gguf
GEMMA := $(MODELS)/gemma-3-270m-q4_k_m.gguf

help:
	@echo 'make demo    the first question, answered on two small models; the report is in a folder of runs/'
	@echo 'make test    every test, with real models'
	@echo 'make build   the release binary, $(TARGET)/release/assay'
	@echo 'make bench   perplexity throughput against llama-perplexity (builds that first: 8 CPU minutes)'
	@echo 'make bench-formats  number formats against memcpy, numpy, gguf-py and ggml on this machine'
	@echo 'make bench-quantize  writing a 5 GB file against dd and numpy (13 GB of disk; FOLDER=, SCALE=0.1 for a tenth)'
	@echo 'make fuzz    the reader and the grammars, 15 minutes (MINUTES=)'
	@echo 'make bench-sweep  a sweep over the layers of a model against the scripted way (half an hour)'
	@echo 'make replay-race  how often a race would have been right on recorded sweeps, and what it saves (SWEEPS=, .npz files)'
	@echo 'make classic  three classic models by shape through every preset, times and memory into docs/classic.md'
	@echo 'make lineage-matrix  what the census says of tensors of known origin, into docs/lineage-matrix.md'
	@echo 'make real-models     four real models (1.6 GB more to fetch) through inspect, census, eval and a run, into docs/real-models.md'
	@echo 'make bench-census    looking at every value against reading it, the census of a large F16 file against a plain numpy check'
	@echo 'make fmt     format the sources'
	@echo 'make lint    formatting, clippy, rustdoc, the direction of dependencies, links in the documents'
	@echo 'make clean   remove what was built; tools, models and runs stay'

demo: models build
	@echo 'demo: does it matter if the FFN norm weights are quantized to BF16? (a finished run is re-used)'
	$(TARGET)/release/assay run ffn-norm-bf16 '$(SMOLLM2)' '$(GEMMA)' --ctx 256 --chunks 8

test: tools models
	@echo 'test: building and running every test of the workspace'
	cargo test --release --workspace

build: tools
	@echo 'build: compiling in release mode (the first time about 4 CPU minutes of C++ for the engine)'
	cargo build --release --workspace

tools:
	@scripts/setup-tools.sh

models: tools
	@scripts/fetch-models.sh

fmt:
	cargo fmt --all

lint: tools
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release -p gguf-assay --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --workspace --no-deps
	scripts/check-directions.py --self-test
	scripts/check-directions.py
	scripts/compare-runs.py --self-test
	scripts/check-links.py

bench: models build
	scripts/build-peer.sh
	.tools/bin/python scripts/bench-perplexity.py --assay '$(TARGET)/release/assay' '$(SMOLLM2)'

# In the release profile, so that the engine's C++ is not compiled again.
bench-formats: tools
	.tools/bin/python scripts/bench-formats.py cargo bench --profile release --workspace --bench formats

bench-quantize: build
	.tools/bin/python scripts/bench-quantize.py --assay '$(TARGET)/release/assay' --scale $(or $(SCALE),1) $(if $(FOLDER),--folder '$(FOLDER)')

fuzz: tools
	scripts/fuzz.sh $(or $(MINUTES),15)

# CHUNKS and LAYERS make it shorter.
bench-sweep: models build
	scripts/build-peer.sh
	.tools/bin/python scripts/bench-sweep.py --assay '$(TARGET)/release/assay' --peer '$(CACHE)/assay/peer/llama-perplexity' \
	  --chunks $(or $(CHUNKS),20) --layers $(or $(LAYERS),0) '$(SMOLLM2)'

# Three models of 1.1 to 1.5 billion parameters, made where the real ones are not there (5 GB), through every preset:
# an hour or more. MAX_MEMORY=8G and the like limit it.
classic: build
	cargo build --release --workspace --examples
	.tools/bin/python scripts/classic.py --assay '$(TARGET)/release/assay' --maker '$(TARGET)/release/examples/synthetic_model' \
	  --folder '$(CACHE)/assay/classic' $(if $(MAX_MEMORY),--max-memory $(MAX_MEMORY))

# How often the racing rule is right on recorded sweeps: SWEEPS='a.npz b.npz'.
replay-race: tools
	cargo build --release --workspace --examples
	.tools/bin/python scripts/replay-race.py --program '$(TARGET)/release/examples/replay_race' $(SWEEPS)

# Fails when a target of its own is missed; the page then says which cells.
lineage-matrix: tools
	scripts/fetch-models.sh --native
	cargo build --release --workspace --example lineage_matrix
	$(TARGET)/release/examples/lineage_matrix '$(SMOLLM2)' '$(GEMMA)' '$(MODELS)/all-MiniLM-L6-v2/model.safetensors' > '$(TARGET)/lineage-matrix.md'; \
	  code=$$?; test -s '$(TARGET)/lineage-matrix.md' && mv '$(TARGET)/lineage-matrix.md' docs/lineage-matrix.md; exit $$code

# Half an hour on two cores.
real-models: build
	scripts/fetch-models.sh --real
	.tools/bin/python scripts/real-models.py --assay '$(TARGET)/release/assay' --models '$(MODELS)' \
	  --runs '$(TARGET)/real-models' --out docs/real-models.md

bench-census: tools build
	.tools/bin/python scripts/bench-census.py --assay '$(TARGET)/release/assay' \
	  --bench 'cargo bench --profile release --workspace --bench census'

clean:
	rm -rf '$(TARGET)'
