"""What nothing in the library calls although it is used, each line with its reason (vulture)."""

_.cost_s  # a column of the exported verdicts, read by name
_.default_priority  # Sphinx sorts transforms by it
_.doctree  # Sphinx passes it to every listener of its event
_.exclude  # IPython passes it to every picture of a value
_.global_phase  # Qiskit's circuits keep it
_.images_sha256  # of a data set, for whoever compares two of them
_.include  # IPython passes it to every picture of a value
_.job_tags  # an option that Qiskit's runtime reads
_.labels_sha256  # of a data set, for whoever compares two of them
_.maxlevel  # a limit that reprlib reads
_.maxlong  # a limit that reprlib reads
_.maxother  # a limit that reprlib reads
_.misconception  # the page of questions reads it, and a test
_.num_wires  # PennyLane checks operations with it
_.preprocess_transforms  # PennyLane asks its devices for it
_.setup  # Sphinx calls it when it loads an extension
_.setup_execution_config  # PennyLane asks its devices for it
_.supports_derivatives  # PennyLane asks its devices for it
_.why  # a field of every claim, for people
_.with_papers_table  # `make readme` writes the README's table with it
_._debugger  # PennyLane's debugger is kept here by the device's parent
_._repr_mimebundle_  # IPython shows a value with it
_.build_runtime_param  # typer calls it, here put in the place of its own
_.param  # typer passes it
_.descriptor  # typer passes it
_._Model  # Numba finds how registers are kept by the decorator
_._Template  # Numba finds the types of an operator by the decorator
_.generic  # Numba asks a template for the types of an operator
_.kws  # Numba passes it to every template
_._lower  # Numba finds the code of an operator by the decorator
_.typing  # Numba passes it to every intrinsic
_._others  # a record keeps arguments alive with it
_.unseen  # a fact of a circuit, read by name from its plan
