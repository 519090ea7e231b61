"""Plain English answers to everyday questions, written for the tests: what rewrites start from."""

from __future__ import annotations

PLAIN_TEXTS = (
    "To make a good cup of coffee, you need fresh beans and clean water. Grind the beans just before you brew them. "
    "The water should be hot, but it should not boil.",
    "Whales are mammals that live in the sea. They breathe air and feed their calves with milk. The blue whale is the "
    "largest animal that has ever lived on Earth.",
    "The capital of Portugal is Lisbon. It lies on the Atlantic coast, near the mouth of a wide river. Many people "
    "visit the city because of its mild climate and its old streets.",
    "Regular exercise helps you to sleep better and keeps your heart strong. You can start with a short walk every "
    "day. After a few weeks, try to walk a little faster or a little farther.",
    "A computer program is a list of instructions. The processor reads them one after another and does what they say. "
    "If one instruction is wrong, the result may be wrong as well.",
    "My brother bought a used bicycle last summer. He repaired the brakes, painted the frame and gave it a new bell. "
    "Now he rides it to work in all kinds of weather.",
    "Plants make sugar from light, water and carbon dioxide. This process is called photosynthesis. It takes place in "
    "the green parts of the leaves and also produces oxygen.",
    "If you want to learn a new language, it is important to practice often. Read simple books, listen to songs and "
    "talk to people who speak it. Mistakes are a normal part of learning.",
    "The museum opens at nine and closes at five. Tickets for children are free, and students pay half the price. "
    "Please leave large bags at the entrance.",
    "Bread is made from flour, water, salt and yeast. The dough needs time to rise before it goes into the oven. A "
    "hot oven gives the loaf a crisp crust.",
    "A budget is a plan for your money. Write down what you earn and what you spend each month. You can then see "
    "where you could save something for the future.",
    "The printing press changed Europe in the fifteenth century. Books became cheaper, and more people learned to "
    "read. New ideas could travel from one town to the next within weeks.",
    "Cats sleep for most of the day and are active at dawn. They use their whiskers to feel the way in the dark. A cat "
    "that trusts you may bring you a mouse.",
    "Good friends listen without judging. They tell you the truth, even when it is hard to hear. If you want to keep "
    "a friend, make time for them.",
    "There are three main types of rock. Igneous rock forms when hot magma cools. Sedimentary rock forms from layers "
    "of sand and mud. Metamorphic rock forms under heat and pressure.",
    "I think the best way to begin is to make a list of what you need. Then ask your neighbors whether they can help "
    "you. Small projects are often easier to finish than big ones.",
    "The moon goes around the Earth once every month. We always see the same side of it. Its pull on the oceans causes "
    "the tides.",
    "Some people like to work at home, and others prefer an office. At home there is less noise and no long drive. In "
    "an office it is easier to talk to colleagues and to share ideas.",
    "Honey never goes bad if the jar stays closed. Bees make it from the nectar of flowers. It is used in tea, in "
    "cakes and in many old recipes against a cough.",
    "Before you travel, check your passport and your tickets. Pack light clothes and a warm jacket, because the "
    "evenings can be cold. It is also wise to tell a friend where you are going.",
    "The team lost the first game but won the next three. Their new coach changed the training and gave the young "
    "players more time. The fans were very happy at the end of the season.",
    "A good story has a beginning, a middle and an end. The reader should care about the people in it. Do not explain "
    "everything, because a little mystery keeps the reader awake.",
)
