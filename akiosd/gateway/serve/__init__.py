"""The sockets of a cage: its connections and its DNS questions, each under the rule of its destination."""
