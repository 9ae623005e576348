def pytest_configure(config):
    config.addinivalue_line("markers", "full: every pooling of every family at its published size; takes minutes")
