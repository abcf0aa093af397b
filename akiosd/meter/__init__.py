"""What calls to models cost, what a cage may spend, and when it goes in circles.  Functions over
values, no I/O.
"""
