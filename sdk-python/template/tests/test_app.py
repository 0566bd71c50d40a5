import unittest

import app
from animus.errors import Invalid
from animus.testing import FakeHost, call


class Greet(unittest.TestCase):
    def setUp(self) -> None:
        self.host = self.enterContext(FakeHost())

    def test_somebody_is_greeted_by_name(self) -> None:
        self.assertEqual(call(app, "greet", {"name": " Ada "}), "Hello, Ada!")

    def test_nobody_is_not_greeted(self) -> None:
        for args in ({"name": " "}, {}, {"name": 7}):
            with self.assertRaises(Invalid):
                call(app, "greet", args)


if __name__ == "__main__":
    unittest.main()
