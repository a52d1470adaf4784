"""Office-Home (Venkateswara et al., "Deep Hashing Network", CVPR 2017)."""

from edgeprune.domains.known.base import Archive, HubFiles, KnownData

CLASSES = """
Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair
Clipboards Computer Couch Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops
Flowers Folder Fork Glasses Hammer Helmet Kettle Keyboard Knives Lamp_Shade Laptop Marker
Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil Postit_Notes Printer Push_Pin
Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon TV Table
Telephone ToothBrush Toys Trash_Can Webcam
"""

DATASET = KnownData(
    name="office-home",
    title="Office-Home",
    domains=["Art", "Clipart", "Product", "Real World"],
    classes=65,
    class_names=CLASSES.split(),
    images=15_588,
    # From the dataset card and its file list: columns, class names, count, three files.
    hub=HubFiles(
        repo="flwrlabs/office-home",
        revision="d430d44779e929b335be368ab3456484e5de36bb",
        pattern="data/train-*.parquet",
    ),
    archives=[
        Archive(
            file="office_home.zip",
            page="https://drive.google.com/uc?id=1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC",
            md5="b1c14819770c4448fd5b6d931031c91c",
        )
    ],
    unverified=[
        "the download from the hub (1.2 GB) has never been run",
        "whether the copy on the hub keeps the original file names",
        "the checksum of office_home.zip is that of another project that reads the same file",
        "how many images each domain has",
    ],
)
