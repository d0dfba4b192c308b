"""Object detection with Faster R-CNN on the networks of this project (Sec. 4.3, Tables 7 and 8, appendix)."""
