"""gradscope for TensorFlow and Keras 3."""
