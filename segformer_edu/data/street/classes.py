"""The eight classes of a street scene."""

CLASSES = ("sky", "building", "vegetation", "road", "sidewalk", "vehicle", "person", "pole")
SKY, BUILDING, VEGETATION, ROAD, SIDEWALK, VEHICLE, PERSON, POLE = range(len(CLASSES))
