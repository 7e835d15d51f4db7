"""Bundle: a failing step as a folder of JSON and safetensors, to be run again elsewhere."""
