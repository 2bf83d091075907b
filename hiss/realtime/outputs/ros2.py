"""Estimates as a ROS 2 topic. The one file that knows rclpy, which comes with ROS 2 and not from pip."""

from __future__ import annotations

from collections.abc import Sequence

from hiss.errors import HissError
from hiss.program import Port
from hiss.realtime.sinks import Estimate, Sink

DEPTH = 10  # of the publisher's queue; the middleware drops the oldest itself


class Ros2Out(Sink):
    """std_msgs/Float64MultiArray per estimate; the layout's one dimension is labelled with the outputs' names."""

    def __init__(self, topic: str, outputs: Sequence[Port]):
        """Raises HissError where there is no ROS 2."""
        try:
            import rclpy
            from std_msgs.msg import Float64MultiArray, MultiArrayDimension
        except ImportError as error:
            raise HissError(
                "ros2: rclpy is not there; it comes with ROS 2, not from pip. Source its setup.bash, and use its Python"
            ) from error
        self.name = f"ros2:{topic}"
        self._rclpy, self._topic, self._message = rclpy, topic, Float64MultiArray
        label = ",".join(port.name for port in outputs)
        self._dimension = MultiArrayDimension(label=label, size=len(outputs), stride=len(outputs))

    def __enter__(self) -> Ros2Out:
        self._context = self._rclpy.Context()
        self._rclpy.init(context=self._context)
        self._node = self._rclpy.create_node("hiss", context=self._context)
        self._publisher = self._node.create_publisher(self._message, self._topic, DEPTH)
        return self

    def __exit__(self, *error: object) -> None:
        self._node.destroy_node()
        self._context.shutdown()

    def estimate(self, estimate: Estimate) -> None:
        """Publish it."""
        message = self._message()
        message.layout.dim = [self._dimension]
        message.data = [float(y) for y in estimate.y.tolist()]
        self._publisher.publish(message)
